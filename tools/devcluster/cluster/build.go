package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

// tool is a program that is built from this repository's tools/ when needed.
type tool struct {
	module string // folder of its module, from the repository's root
	pkg    string // package in that module
	first  string // how long the first build takes, for people; "" if not worth a word
	extra  string // linker flags
}

const kubernetesVersion = "v1.35.4"

func tools() map[string]tool {
	kube := kubernetesLinkerFlags()
	return map[string]tool{
		"controlplane": {module: "tools/controlplane", pkg: ".", first: "about 4 minutes", extra: kube},
		"kubelet":      {module: "tools/controlplane", pkg: "./cmd/kubelet", first: "about 1 minute", extra: kube},
		"kubectl":      {module: "tools/controlplane", pkg: "./cmd/kubectl", first: "about 1 minute", extra: kube},
		"kwok":         {module: "tools/kwok", pkg: ".", first: "about 1 minute"},
		"cosign":       {module: "tools/cosign", pkg: "github.com/sigstore/cosign/v3/cmd/cosign", first: "about 3 minutes"},
		"nodeinit":     {module: "tools/devcluster/nodeinit", pkg: "."},
		"pause":        {module: "tools/devcluster/pause", pkg: "."},
	}
}

// kubernetesLinkerFlags give Kubernetes its version; without it clients and
// kubelet take the server for v0.0.0.
func kubernetesLinkerFlags() string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+pkg+".gitVersion="+kubernetesVersion, "-X "+pkg+".gitMajor="+major, "-X "+pkg+".gitMinor="+minor,
			"-X "+pkg+".gitTreeState=clean", "-X "+pkg+".buildDate=1970-01-01T00:00:00Z")
	}
	return strings.Join(flags, " ")
}

// Kubectl gives the path of a kubectl of the clusters' version, built if need be.
func Kubectl(ctx context.Context, progress func(string)) (string, error) {
	built, err := Build(ctx, progress, "kubectl")
	return built["kubectl"], err
}

// Build gives the paths of the named tools: controlplane, kwok, kubelet,
// kubectl, nodeinit, pause, cosign. What the user's cache folder lacks is built, which
// takes minutes the first time; processes that want the same wait for one of
// them. A nil progress is silent.
func Build(ctx context.Context, progress func(string), names ...string) (map[string]string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	root, err := repository()
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for _, name := range names {
		t, ok := tools()[name]
		if !ok {
			return nil, fmt.Errorf("there is no tool %q to build", name)
		}
		path, err := t.build(ctx, root, name, progress)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		paths[name] = path
	}
	return paths, nil
}

// CacheDir is where built tools and fetched packages are kept for all clusters
// of this user; deleting it costs time only.
func CacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "shipit-tools")
	return dir, os.MkdirAll(dir, 0o755)
}

// Lock holds the named lock of the cache folder, for one builder or fetcher at
// a time. It says so when it has to wait.
func Lock(ctx context.Context, name string, progress func(string)) (unlock func(), err error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		f, err := tryLock(filepath.Join(cache, name+".lock"))
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() { _ = f.Close() }, nil
		}
		if !told && progress != nil {
			progress(name + ": another process is at it, waiting")
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (t tool) build(ctx context.Context, root, name string, progress func(string)) (string, error) {
	dir := filepath.Join(root, filepath.FromSlash(t.module))
	key, err := t.key(ctx, dir)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, name+"-"+key, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := Lock(ctx, name, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	part := path + ".part"
	args := []string{"build", "-v", "-ldflags", strings.TrimSpace("-s -w " + t.extra), "-o", part, t.pkg}
	if err := compile(ctx, dir, args, t.told(name, progress)); err != nil {
		return "", err
	}
	return path, os.Rename(part, path)
}

// told says what is being built, now and every few seconds.
func (t tool) told(name string, progress func(string)) func(packages int, took time.Duration) {
	return func(packages int, took time.Duration) {
		switch {
		case took > 0:
			progress(fmt.Sprintf("building %s: %d packages compiled (%.0fs)", name, packages, took.Seconds()))
		case t.first != "":
			progress(fmt.Sprintf("building %s (the first time takes %s)", name, t.first))
		}
	}
}

// compile runs go with args in dir. Its -v names each package it compiles on
// stderr, among the errors.
func compile(ctx context.Context, dir string, args []string, told func(int, time.Duration)) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = goEnv()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	told(0, 0)
	if err := cmd.Start(); err != nil {
		return err
	}
	var packages atomic.Int64
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				told(int(packages.Load()), time.Since(start))
			}
		}
	}()
	var last []string
	for lines := bufio.NewScanner(pipe); lines.Scan(); packages.Add(1) {
		last = append(last, lines.Text())
	}
	err = cmd.Wait()
	close(done)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, strings.Join(last[max(0, len(last)-15):], "\n"))
	}
	return nil
}

// goEnv is the environment to build tools in: the same flags whoever calls, so
// that the compiler's cache is shared, and nothing of the caller's workspace.
func goEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GO111MODULE", "CGO_ENABLED":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOWORK=off")
}

// key names the build by all that goes into it.
func (t tool) key(ctx context.Context, dir string) (string, error) {
	version := exec.CommandContext(ctx, "go", "version")
	version.Dir = dir
	out, err := version.Output()
	if err != nil {
		return "", fmt.Errorf("go version: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s%s %s\n", out, t.pkg, t.extra)
	var files []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.HasSuffix(path, ".go") || d.Name() == "go.mod" || d.Name() == "go.sum") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(file), len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// repository finds this module's root upwards from the working directory,
// which is where tools/ is.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module github.com/joelhooks/shipit\n")) {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in shipit's repository, which the tools are built from")
		}
	}
}
