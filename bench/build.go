package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// peerPackages are the peers that have a module under peers/.
func peerPackages() map[string]string {
	return map[string]string{"helm": "helm.sh/helm/v3/cmd/helm", "helm4": "helm.sh/helm/v4/cmd/helm", "kapp": "carvel.dev/kapp/cmd/kapp", "crane": "github.com/google/go-containerregistry/cmd/crane"}
}

// absent are the peers that are not measured at all, with the reason.
func absent() []string {
	return []string{
		"nelm: the Go module proxy serves no version of github.com/werf/nelm",
		"krane: a Ruby program, no Go module: what it does otherwise stands below",
		"kamal: a Ruby program that deploys containers to hosts, not to Kubernetes: what it does otherwise stands below",
	}
}

// tools gives what is measured, shipit first. A peer that cannot be built is
// left out and named with the reason.
func tools(ctx context.Context, dir string) ([]tool, []string, error) {
	bin := filepath.Join(dir, "bin", "shipit")
	say("build shipit")
	if out, err := goBuild(ctx, "..", bin, "./cmd/shipit", "-tags", shipitTags).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("build shipit: %w\n%s", err, out)
	}
	list := []tool{{name: "shipit", program: bin, commands: shipitCommands{}}}
	var skipped []string
	kubectl, err := cluster.Kubectl(ctx, say)
	if err != nil {
		return nil, nil, err
	}
	list = append(list, tool{name: "kubectl", program: kubectl, version: "v1.35.4", commands: kubectlCommands{}})
	for _, peer := range []tool{{name: "helm", commands: helmCommands{}}, {name: "helm4", commands: helm4Commands{}}, {name: "kapp", commands: kappCommands{}}} {
		peer.program, peer.version, err = buildPeer(ctx, peer.name)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("%s: %v", peer.name, err))
			say("skip " + skipped[len(skipped)-1])
			continue
		}
		list = append(list, peer)
	}
	return list, append(skipped, absent()...), nil
}

// buildPeer gives the program of a peer and its version; what the user's cache
// folder lacks is built from the module proxy.
func buildPeer(ctx context.Context, name string) (program, version string, err error) {
	dir := filepath.Join("peers", name)
	version, err = pinned(dir, strings.Split(peerPackages()[name], "/cmd/")[0])
	if err != nil {
		return "", "", err
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", "", err
	}
	key, err := keyOf(ctx, dir)
	if err != nil {
		return "", "", err
	}
	program = filepath.Join(cache, name+"-"+key, name)
	unlock, err := cluster.Lock(ctx, "peer-"+name, say)
	if err != nil {
		return "", "", err
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, version, nil
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", "", err
	}
	say(fmt.Sprintf("build %s %s (the first time takes about 3 minutes)", name, version))
	if err := watched(goBuild(ctx, dir, program+".part", peerPackages()[name]), name); err != nil {
		return "", "", err
	}
	return program, version, os.Rename(program+".part", program)
}

// shipitTags are those with which shipit is released, see the Makefile.
const shipitTags = "kustomize_disable_go_plugin_support,grpcnotrace"

// goBuild is a niced `go build -v`: others may be at work on this machine.
func goBuild(ctx context.Context, dir, out, pkg string, flags ...string) *exec.Cmd {
	abs, err := filepath.Abs(out)
	if err != nil {
		abs = out
	}
	args := append([]string{"go", "build", "-v", "-ldflags", "-s -w", "-o", abs}, append(flags, pkg)...)
	if nice, err := exec.LookPath("nice"); err == nil {
		args = append([]string{nice, "-n", "15"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOWORK=off")
	return cmd
}

// watched runs a build and says every few seconds how far it is; -v names each
// package on stderr, among the errors.
func watched(cmd *exec.Cmd, name string) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last []string
	count, told, began := 0, time.Now(), time.Now()
	for lines := bufio.NewScanner(pipe); lines.Scan(); count++ {
		last = append(last[max(0, len(last)-9):], lines.Text())
		if time.Since(told) > 5*time.Second {
			say(fmt.Sprintf("build %s: %d packages compiled (%.0fs)", name, count, time.Since(began).Seconds()))
			told = time.Now()
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, strings.Join(last, "; "))
	}
	return nil
}

// keyOf names a build of a peer by its pins and the Go version.
func keyOf(ctx context.Context, dir string) (string, error) {
	sum := sha256.New()
	version := exec.CommandContext(ctx, "go", "version")
	version.Dir, version.Stdout = dir, sum
	if err := version.Run(); err != nil {
		return "", fmt.Errorf("go version: %w", err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// pinned is the version that dir/go.mod demands of a module.
func pinned(dir, module string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s does not demand %s", filepath.Join(dir, "go.mod"), module)
}
