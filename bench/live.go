package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/tools/bunbase"
)

// liveTree is a monorepo that is carried from a commit to what runs.
type liveTree struct {
	name   string
	of     packages
	rounds int
}

func liveTrees(rounds int) []liveTree {
	return []liveTree{
		{"235 packages, 6,300 files, 55 MB", smallTree(), rounds},
		{"1,000 packages, 50,000 files, 700 MB", largeTree(), 1},
	}
}

// edit is what a commit changes.
type edit string

const (
	editSource     edit = "a source file changed"
	editDependency edit = "a dependency changed"
	editNothing    edit = "nothing changed"
)

func edits() []edit { return []edit{editSource, editDependency, editNothing} }

// liveSection begins the names of the sections.
const liveSection = "From commit to live"

const todaysWay = "buildah bud, push, kubectl"

// liveRows measures the user's own clock: from `git commit` until the pods run what was
// committed, beside the way in which the first user does it today.
func liveRows(ctx context.Context, g *environment, t *table) error {
	b, err := newBuildah(ctx, filepath.Join(g.dir, "buildah"))
	if err != nil {
		t.skipped = append(t.skipped, "buildah: "+err.Error())
		return nil
	}
	defer func() { _ = b.close() }()
	image, err := bunbase.Image(ctx)
	if err != nil {
		return err
	}
	base, err := push(ctx, g.registry, image)
	if err != nil {
		return err
	}
	for i, tree := range liveTrees(g.rounds) {
		l := live{environment: g, buildah: b, tools: t.tools, tree: tree, base: base, name: fmt.Sprintf("live-%d", i)}
		if err := l.rows(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", tree.name, err)
		}
	}
	return nil
}

// live is one tree under measurement.
type live struct {
	*environment
	buildah buildah
	tools   []tool
	tree    liveTree
	base    string // image with bun, by digest
	name    string // of namespaces and folders
	address string // of the packages
	bun     string
}

func (l live) rows(ctx context.Context, t *table) error {
	l.tree.of.dir = filepath.Join(l.dir, l.name+"-packages")
	if err := os.MkdirAll(l.tree.of.dir, 0o755); err != nil {
		return err
	}
	address, shut, err := l.tree.of.serve()
	if err != nil {
		return err
	}
	defer shut()
	l.address = address
	if l.bun, err = bunbase.Bun(ctx); err != nil {
		return err
	}
	say(l.tree.name + ": the first release of each")
	ways, err := l.begin(ctx)
	if err != nil {
		return err
	}
	section := liveSection + ": " + l.tree.name
	var installs []span
	for _, e := range edits() {
		took, memory := figures{}, figures{}
		for range l.tree.rounds {
			for _, w := range ways {
				m, err := w.carry(ctx, e)
				if err != nil {
					return err
				}
				took.add(w.column, m.took().Seconds())
				memory.add(w.column, float64(m.OwnRSS))
				if e == editDependency && w.shipit() {
					events, err := os.ReadFile(w.events())
					if err != nil {
						return err
					}
					installs = append(installs, layerSpan(events))
				}
			}
		}
		t.figures(section, string(e), seconds, took)
		t.figures(section, string(e)+": peak memory", kibibyte, memory)
	}
	t.among(section, []tool{ways[0].column, ways[1].column})
	return ways[0].layerRow(ctx, t, installs)
}

// way is one of the two ways from a commit to what runs.
type way struct {
	deployment
	live   live
	column tool
	count  *int // commits so far
}

// begin makes the repositories and carries the first commit of each.
func (l live) begin(ctx context.Context) ([]way, error) {
	kubectl := l.tools[slices.IndexFunc(l.tools, func(t tool) bool { return t.name == "kubectl" })]
	ways := []way{
		{deployment: l.at(l.tools[0], l.name), column: l.tools[0], live: l, count: new(int)},
		{deployment: l.at(kubectl, l.name), column: tool{name: todaysWay, version: l.buildah.version}, live: l, count: new(int)},
	}
	for _, w := range ways {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
		if _, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		if err := w.repository(ctx); err != nil {
			return nil, err
		}
		if _, err := w.carry(ctx, editDependency); err != nil {
			return nil, err
		}
	}
	return ways, nil
}

// carry commits an edit and measures from `git commit` until its pods are ready.
func (w way) carry(ctx context.Context, e edit) (*measured, error) {
	*w.count++
	image := w.image(*w.count)
	if err := w.write(ctx, e, image); err != nil {
		return nil, err
	}
	if _, err := w.command(ctx, "git", "add", "-A"); err != nil {
		return nil, err
	}
	lines := [][]string{{"git", "-C", w.folder, "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "commit", "-q", "--allow-empty", "-m", string(e)}}
	if w.shipit() {
		lines = append(lines, []string{w.tool.program, "release", "-C", w.folder, "--events", w.events()})
	} else {
		lines = append(append(lines, w.live.buildah.build(w.folder, image)...), kubectlCommands{}.deploy(w.deployment)...)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("it does not end"))
	defer cancel()
	m, err := measure(ctx, w.folder, w.environ(), lines)
	if err == nil && m.Code != 0 {
		err = fmt.Errorf("%s: exit code %d\n%s", w.column.name, m.Code, m.Out.String())
	}
	if err != nil {
		return nil, err
	}
	_ = os.WriteFile(filepath.Join(w.dir, w.namespace+"-"+strings.ReplaceAll(string(e), " ", "-")+".log"), []byte(m.Out.String()), 0o644)
	return m, w.settled(ctx)
}

func (w way) events() string { return filepath.Join(w.dir, w.namespace+".events") }

func (w way) shipit() bool { return w.column.name == "shipit" }

// environ has bun on the path: the image's commands are run by it.
func (w way) environ() []string {
	env := w.env()
	for i, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			env[i] = "PATH=" + filepath.Dir(w.live.bun) + ":" + path
		}
	}
	return env
}

func (w way) image(count int) string {
	name := w.registry + "/" + w.namespace + "/worker"
	if w.shipit() {
		return name
	}
	return fmt.Sprintf("%s:%d", name, count) // theirs is the time of day
}

const liveYAML = `app: %[3]s
builder: embedded
images:
  worker:
    repository: %[1]s
    package: packages/system-bus
    base: %[2]s
    run: [[bun, install, --frozen-lockfile, --production]]
    entrypoint: [bun, --no-install, run, src/serve.ts]
roles:
  cluster:
    image: worker
    stable: 1ms # no peer waits whether what is ready stays so
    kubernetes: {namespace: %[3]s, manifests: [k8s]}
timeout: 2m
`

// dockerfile has the shape of the first user's, whose base is root's.
const dockerfile = `FROM %s
USER root
WORKDIR /app
COPY . .
RUN ["bun", "install", "--frozen-lockfile", "--production"]
WORKDIR /app/packages/system-bus
ENV WORKER_ROLE=cluster
EXPOSE 3111
CMD ["bun", "run", "src/serve.ts"]
`

// repository makes the monorepo: the sample, with the packages as what its worker needs.
func (w way) repository(ctx context.Context) error {
	if err := os.CopyFS(w.folder, os.DirFS(filepath.Join("..", "testdata", "monorepo"))); err != nil {
		return err
	}
	for _, name := range []string{"pnpm-lock.yaml", "pnpm-workspace.yaml", "shipit.yaml"} {
		if err := os.Remove(w.file(name)); err != nil {
			return err
		}
	}
	files := map[string]string{
		"package.json": `{"name":"busrig","private":true,"workspaces":["packages/*"]}`,
		".npmrc":       "registry=" + w.live.address + "\n",
		"bunfig.toml":  "[install]\nlinker = \"hoisted\"\n", // as the first user's version of bun does it
	}
	if w.shipit() {
		files["shipit.yaml"] = fmt.Sprintf(liveYAML, w.image(0), w.live.base, w.namespace)
	} else {
		files["Dockerfile"] = fmt.Sprintf(dockerfile, w.live.base)
		files[".dockerignore"] = ".git\nk8s\nobjects.yaml\nnode_modules\n"
	}
	for name, text := range files {
		if err := os.WriteFile(w.file(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := w.command(ctx, "git", "init", "-q", "-b", "main")
	return err
}

// write makes an edit in the folder, and the objects that go with it.
func (w way) write(ctx context.Context, e edit, image string) error {
	objects := "objects.yaml"
	if w.shipit() {
		objects = "k8s/app.yaml"
	}
	if err := errors.Join(os.MkdirAll(w.file("k8s"), 0o755), os.WriteFile(w.file(objects), variant{objects: 1}.yaml(w.deployment, image), 0o644)); err != nil {
		return err
	}
	switch e {
	case editSource:
		return os.WriteFile(w.file("packages/system-bus/src/variant.ts"), fmt.Appendf(nil, "export const variant = %d;\n", *w.count), 0o644)
	case editDependency:
		return w.depend(ctx, version(*w.count%(changes+1)))
	}
	return nil
}

// depend changes what the worker needs, and the lockfile with it.
func (w way) depend(ctx context.Context, first string) error {
	all := w.live.tree.of.dependencies(first)
	all["@busrig/event-contract"] = "workspace:*"
	text, err := json.MarshalIndent(map[string]any{"name": "@busrig/system-bus", "version": "0.0.0", "private": true, "type": "module", "dependencies": all}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.file("packages/system-bus/package.json"), text, 0o644); err != nil {
		return err
	}
	_, err = w.command(ctx, w.live.bun, "install", "--lockfile-only")
	return err
}
