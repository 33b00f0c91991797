package main

import (
	"context"
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
	say(l.tree.name + ": the first release")
	ways, err := l.begin(ctx)
	if err != nil {
		return err
	}
	section := liveSection + ": " + l.tree.name
	var installs []layerSpan
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
					installs = append(installs, layersIn(events))
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

// begin makes the repositories, and carries shipit's first commit. The other way needs no
// first one: it installs all packages at every change.
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
		if w.shipit() {
			if _, err := w.carry(ctx, editDependency); err != nil {
				return nil, err
			}
		} else if err := w.depend(ctx, version(0)); err != nil {
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
