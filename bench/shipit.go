package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// shipitCommands uses shipit on a repository of its own for each deployment.
type shipitCommands struct{}

func (shipitCommands) agent() string { return "shipit" }

// Each deployment is an app of its own: records in another namespace are refused.
const shipitYAML = `app: %[3]s
builder: embedded
images:
  worker:
    repository: %[1]s/bench/worker
    package: packages/system-bus
    base: %[2]s
    entrypoint: [bun, --no-install, run, src/serve.ts]
roles:
  cluster:
    image: worker
    stable: 1ms # no peer waits whether what is ready stays so
    kubernetes: {namespace: %[3]s, manifests: [k8s]}
timeout: %[4]s
`

// write commits the variant and builds its image: a release then finds it in
// the registry.
func (c shipitCommands) write(ctx context.Context, d deployment, e variant) error {
	_, err := c.build(ctx, d, e)
	return err
}

// build is write, and gives the image by its digest.
func (shipitCommands) build(ctx context.Context, d deployment, e variant) (string, error) {
	if _, err := os.Stat(d.folder); os.IsNotExist(err) {
		if err := os.CopyFS(d.folder, os.DirFS(filepath.Join("..", "testdata", "monorepo"))); err != nil {
			return "", err
		}
		if _, err := d.command(ctx, "git", "init", "-q", "-b", "main"); err != nil {
			return "", err
		}
	}
	files := map[string]string{
		"shipit.yaml":                        fmt.Sprintf(shipitYAML, d.registry, d.base, d.namespace, d.limit),
		"k8s/app.yaml":                       string(e.yaml(d, d.registry+"/bench/worker")),
		"packages/system-bus/src/variant.ts": fmt.Sprintf("export const variant = %d;\n", e.image),
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(d.file(name)), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(d.file(name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if _, err := d.command(ctx, "git", "add", "-A"); err != nil {
		return "", err
	}
	if _, err := d.command(ctx, "git", "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "commit", "-q", "--allow-empty", "-m", "variant"); err != nil {
		return "", err
	}
	if e.fault != sound {
		return "", nil // the image is built, and what is wrong is for the release to find
	}
	return d.command(ctx, d.tool.program, "build")
}

func (shipitCommands) deploy(d deployment) [][]string {
	return [][]string{{d.tool.program, "release", "-C", d.folder}}
}

func (shipitCommands) rollback(d deployment) [][]string {
	return [][]string{{d.tool.program, "rollback", "-C", d.folder}}
}

// command runs a program in the deployment's folder and gives what it printed.
func (d deployment) command(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = d.folder, d.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
