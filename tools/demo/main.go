// Command demo is `make demo`: it brings up a cluster and a registry, makes a
// repository of the sample monorepo, and types what a person would type:
// release v1, v2 and a broken v3, look around, roll back. It leaves nothing
// running.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

// demo is the session: its parts and the command lines that it runs.
type demo struct {
	dir, repo  string
	shipit     string
	kubectl    string
	kubeconfig string
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "shipit-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{dir: dir, repo: filepath.Join(dir, "busrig")}

	say("build shipit")
	d.shipit = filepath.Join(dir, "bin", "shipit")
	if err := command(ctx, ".", "go", "build", "-o", d.shipit, "./cmd/shipit"); err != nil {
		return err
	}
	if d.kubectl, err = cluster.Kubectl(ctx, say); err != nil {
		return err
	}
	c, registry, down, err := ground(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down()) }()
	d.kubeconfig = c.Kubeconfig
	base, err := pushBase(ctx, registry)
	if err != nil {
		return err
	}
	if err := d.repository(ctx, registry, base); err != nil {
		return err
	}
	return d.session(ctx)
}

// ground is a real node where one can run, otherwise a simulated one and a
// registry in this process.
func ground(ctx context.Context, dir string) (*cluster.Cluster, string, func() error, error) {
	why := cluster.CanRunReal()
	if why != nil {
		say("pods are simulated, because a real node cannot run here: " + why.Error())
	} else {
		say("bring up a real node: API server, kubelet, containerd, registry")
	}
	c, err := cluster.Up(ctx, cluster.Options{Real: why == nil, Progress: say})
	if err != nil {
		return nil, "", nil, err
	}
	down := func() error { return c.Down(context.WithoutCancel(ctx)) }
	if why == nil {
		return c, c.Registry, down, nil
	}
	addr, shut, err := cluster.Registry(ctx, filepath.Join(dir, "registry"))
	if err != nil {
		return nil, "", nil, errors.Join(err, down())
	}
	return c, addr, func() error { shut(); return down() }, nil
}

// pushBase puts the image that holds bun into the registry and returns its name by digest.
func pushBase(ctx context.Context, registry string) (string, error) {
	say("make a base image that holds bun")
	img, err := bunbase.Image(ctx)
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewDigest(registry + "/oven/bun@" + digest.String())
	if err != nil {
		return "", err
	}
	return ref.Name(), remote.Write(ref, img, remote.WithContext(ctx))
}

// repository makes the monorepo with one commit.
func (d *demo) repository(ctx context.Context, registry, base string) error {
	say("make a repository of the sample monorepo")
	if err := os.CopyFS(d.repo, os.DirFS("testdata/monorepo")); err != nil {
		return err
	}
	if err := d.edit("shipit.yaml", "${REGISTRY}", registry, "${BASE}", base); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"config", "user.name", "Demo"}, {"config", "user.email", "demo@example.com"}} {
		if err := command(ctx, d.repo, "git", args...); err != nil {
			return err
		}
	}
	return command(ctx, d.repo, d.kubectl, "--kubeconfig", d.kubeconfig, "create", "namespace", "busrig")
}

// session is what a person would type; each line's exit code is the one expected.
func (d *demo) session(ctx context.Context) error {
	steps := []struct {
		edit []string // file, old, new
		line string
		code int
	}{
		{nil, "git add -A && git commit -qm 'system-bus: first edition' && git tag v1.0.0", 0},
		{nil, "shipit release", 0},
		{[]string{"packages/system-bus/src/serve.ts", "system-bus role=", "system-bus, second edition, role="}, "git commit -qam 'system-bus: second edition' && git tag v1.1.0", 0},
		{nil, "shipit release", 0},
		{[]string{"shipit.yaml", `FIXTURE_FAULT: ""`, "FIXTURE_FAULT: crash-on-boot"}, "git commit -qam 'system-bus: third edition, which crashes at start'", 0},
		{nil, "shipit release", 5},
		{nil, "shipit status", 0},
		{nil, "shipit rollback", 0},
		{nil, "shipit history", 0},
		{nil, "kubectl get deployments -n busrig -o custom-columns=NAME:.metadata.name,READY:.status.readyReplicas,IMAGE:.spec.template.spec.containers[0].image", 0},
	}
	for _, s := range steps {
		if s.edit != nil {
			if err := d.edit(s.edit[0], s.edit[1], s.edit[2]); err != nil {
				return err
			}
		}
		if err := d.typed(ctx, s.line, s.code); err != nil {
			return err
		}
	}
	return nil
}

// typed shows a command line and runs it.
func (d *demo) typed(ctx context.Context, line string, want int) error {
	fmt.Printf("\n$ %s\n", line)
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = d.repo
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig, "PATH="+strings.Join([]string{filepath.Dir(d.shipit), filepath.Dir(d.kubectl), os.Getenv("PATH")}, string(os.PathListSeparator)))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return err
	}
	if code != 0 || want != 0 {
		fmt.Printf("[exit code %d]\n", code)
	}
	if code != want {
		return fmt.Errorf("%s: exit code %d, want %d", line, code, want)
	}
	return nil
}

// edit replaces pairs of texts in a file of the repository; each must be in it.
func (d *demo) edit(file string, pairs ...string) error {
	path := filepath.Join(d.repo, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			return fmt.Errorf("%q is not in %s", pairs[i], file)
		}
	}
	return os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644)
}

func command(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func say(line string) { fmt.Fprintln(os.Stderr, "·", line) }
