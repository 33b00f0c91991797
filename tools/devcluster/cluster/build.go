package cluster

import (
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
	"slices"
	"sort"
	"strings"
	"time"
)

// tool is a program that is built from this repository's tools/ when needed.
type tool struct {
	module  string // folder of its module, from the repository's root
	pkg     string // package in that module
	seconds int    // of CPU that compiling takes with an empty cache, after the tools before it in the same module; for kwok and cosign, after shipit itself
	extra   string // linker flags

	// Compiler flags. They are not part of the key: what they build does the same.
	compiler string
}

const kubernetesVersion = "v1.35.4"

// kubernetesCompilerFlags make nothing inline in Kubernetes' packages, nor have them
// describe themselves to a debugger: they compile in less time, and a cluster of a
// few pods does not feel it.
const kubernetesCompilerFlags = "k8s.io/...=-l -dwarf=false"

func tools() map[string]tool {
	kube := kubernetesLinkerFlags()
	return map[string]tool{
		"controlplane": {module: "tools/controlplane", pkg: ".", seconds: 290, extra: kube, compiler: kubernetesCompilerFlags},
		"kubelet":      {module: "tools/controlplane", pkg: "./cmd/kubelet", seconds: 30, extra: kube, compiler: kubernetesCompilerFlags},
		"kubectl":      {module: "tools/controlplane", pkg: "./cmd/kubectl", seconds: 35, extra: kube, compiler: kubernetesCompilerFlags},
		"kwok":         {module: "tools/kwok", pkg: ".", seconds: 25},
		"cosign":       {module: "tools/cosign", pkg: "github.com/sigstore/cosign/v3/cmd/cosign", seconds: 120},
		"nodeinit":     {module: "tools/devcluster/nodeinit", pkg: ".", seconds: 2},
		"pause":        {module: "tools/devcluster/pause", pkg: ".", seconds: 2},
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
// takes minutes the first time; tools of one module at once, because they share
// most packages. Processes that want the same wait for one of them. A nil
// progress is silent.
func Build(ctx context.Context, progress func(string), names ...string) (map[string]string, error) {
	root, err := Repository()
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	missing := map[string][]string{} // names by module
	var modules []string
	for _, name := range names {
		t, ok := tools()[name]
		if !ok {
			return nil, fmt.Errorf("there is no tool %q to build", name)
		}
		path, err := t.path(ctx, root, name)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		paths[name] = path
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if len(missing[t.module]) == 0 {
			modules = append(modules, t.module)
		}
		missing[t.module] = append(missing[t.module], name)
	}
	for _, module := range modules {
		dir := filepath.Join(root, filepath.FromSlash(module))
		if err := buildModule(ctx, progress, dir, missing[module], paths); err != nil {
			return nil, fmt.Errorf("build %s: %w", strings.Join(missing[module], ", "), err)
		}
	}
	return paths, nil
}

// Built tells whether the tools of a cluster, real or simulated, are built.
func Built(ctx context.Context, real bool) (bool, error) {
	root, err := Repository()
	if err != nil {
		return false, err
	}
	for _, name := range parts(real) {
		path, err := tools()[name].path(ctx, root, name)
		if err != nil {
			return false, err
		}
		if _, err := os.Stat(path); err != nil {
			return false, nil
		}
	}
	return true, nil
}

// parts are the tools that a cluster is made of.
func parts(real bool) []string {
	if real {
		return []string{"controlplane", "kubelet", "nodeinit", "pause"}
	}
	return []string{"controlplane", "kwok"}
}

// buildModule builds what is still missing of the named tools of the module in
// dir, in one go, and puts each at its path.
func buildModule(ctx context.Context, progress func(string), dir string, names []string, paths map[string]string) error {
	unlock, err := Lock(ctx, filepath.Base(dir), progress)
	if err != nil {
		return err
	}
	defer unlock()
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := os.Stat(paths[name])
		return err == nil // built while this process waited
	})
	if len(names) == 0 {
		return nil
	}
	out, err := os.MkdirTemp(filepath.Dir(filepath.Dir(paths[names[0]])), "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)
	c := Compilation{Dir: dir, Out: out + string(filepath.Separator), Flags: buildFlags(), What: strings.Join(names, " and ")}
	for _, name := range names {
		t := tools()[name]
		c.Packages = append(c.Packages, t.pkg)
		c.LinkerFlags, c.CompilerFlags = strings.TrimSpace("-s -w "+t.extra), t.compiler
		c.Seconds += t.seconds
	}
	if err := c.Run(ctx, progress); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(paths[name]), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(out, name), paths[name]); err != nil {
			return err
		}
	}
	return nil
}

// buildFlags are those of the Makefile: a package that has the same version in a tool's
// module as in shipit's is compiled once for both. That is why those modules require
// shipit's versions where their program can be built with them.
func buildFlags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-tags=kustomize_disable_go_plugin_support,grpcnotrace"}
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

// path is where the built tool is, or will be.
func (t tool) path(ctx context.Context, root, name string) (string, error) {
	key, err := t.key(ctx, filepath.Join(root, filepath.FromSlash(t.module)))
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	return filepath.Join(cache, name+"-"+key, name), err
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

// Repository finds this module's root upwards from the working directory,
// which is where tools/ is.
func Repository() (string, error) {
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
