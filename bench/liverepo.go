package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

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
