// Command devcluster brings up a Kubernetes cluster for development and takes
// it down again.
//
//	devcluster up [--real] [--nodes N] [--dir D] [--detach]   prints the kubeconfig's path; ends on Ctrl-C
//	devcluster down [--dir D]
//	devcluster build [--real]                                 builds and fetches what clusters and tests need
//	devcluster kubectl                                        prints the path of a kubectl
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

const usage = "usage: devcluster up [--real] [--nodes N] [--dir D] [--detach] | down [--dir D] | build [--real] | kubectl"

type flags struct {
	dir    string
	real   bool
	detach bool
	nodes  int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	var f flags
	set := flag.NewFlagSet("devcluster "+args[0], flag.ContinueOnError)
	set.StringVar(&f.dir, "dir", filepath.Join(os.TempDir(), "shipit-devcluster"), "folder that the cluster lives in")
	set.BoolVar(&f.real, "real", false, "a real node: kubelet and containerd, as root on Debian or Ubuntu")
	set.BoolVar(&f.detach, "detach", false, "return when the cluster is up, and leave it up")
	set.IntVar(&f.nodes, "nodes", 1, "number of simulated nodes")
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		if f.detach {
			return detach(ctx, args[1:], f)
		}
		return up(ctx, f)
	case "down":
		return cluster.Remove(ctx, f.dir)
	case "build":
		return build(ctx, f)
	case "kubectl":
		path, err := cluster.Kubectl(ctx, progress)
		if err == nil {
			fmt.Println(path)
		}
		return err
	}
	return errors.New(usage)
}

func progress(line string) { fmt.Fprintln(os.Stderr, "→", line) }

// up keeps a cluster until ctx ends.
func up(ctx context.Context, f flags) error {
	c, err := cluster.Up(ctx, cluster.Options{Dir: f.dir, Real: f.real, Nodes: f.nodes, Progress: progress})
	if err != nil {
		return err
	}
	if c.Registry != "" {
		progress("registry " + c.Registry)
		progress(fmt.Sprintf("registry %s, user %s, password %s", c.AuthRegistry.Registry, c.AuthRegistry.User, c.AuthRegistry.Password))
	}
	fmt.Println(c.Kubeconfig)
	<-ctx.Done()
	progress("taking the cluster down")
	return c.Down(context.WithoutCancel(ctx))
}

// detach runs up in a process of its own and returns when that has said where
// the kubeconfig is. Its progress is passed on until then.
func detach(ctx context.Context, args []string, f flags) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	kept := []string{"up"}
	for _, arg := range args {
		if strings.TrimLeft(arg, "-") != "detach" {
			kept = append(kept, arg)
		}
	}
	cmd := exec.Command(self, kept...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	logPath := strings.TrimSuffix(f.dir, "/") + ".log"
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	shown, enough := context.WithCancel(ctx)
	defer enough()
	go follow(shown, logPath)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the cluster did not come up (%w); see %s", cmd.Wait(), logPath)
	}
	fmt.Print(line)
	return cmd.Process.Release()
}

// build makes and fetches all that clusters and the sample monorepo need, so
// that a test does not seem to hang in it.
func build(ctx context.Context, f flags) error {
	names := []string{"controlplane", "kwok"}
	real := f.real || cluster.CanRunReal() == nil
	if real {
		names = append(names, "kubelet", "nodeinit", "pause")
	}
	// Tests build cosign, too.
	fetched := make(chan error, 1)
	go func() { fetched <- cluster.FetchSources(ctx, "kwok", "cosign") }()
	_, err := cluster.Build(ctx, progress, names...)
	if err := errors.Join(err, <-fetched); err != nil {
		return err
	}
	if real {
		if err := cluster.FetchReal(ctx, progress); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		progress("npm is not installed: no bun and no pnpm")
		return nil
	}
	progress("fetching bun " + bunbase.BunVersion + " and pnpm " + bunbase.PNPMVersion)
	_, bun := bunbase.Bun(ctx)
	_, pnpm := bunbase.PNPM(ctx)
	return errors.Join(bun, pnpm)
}

// follow shows what is added to the file at path on stderr, until ctx ends.
func follow(ctx context.Context, path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for {
		_, _ = io.Copy(os.Stderr, f)
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
