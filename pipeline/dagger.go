package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// daggerRun is the build of one image in an engine.
type daggerRun struct {
	engine *engine.Engine
	client *dagger.Client
	opts   Options
	in     Inputs
	source *dagger.Directory // the closure
	salt   string            // unique for each run
	root   string            // folder of the tree and the home folder

	files    []given // that the environment names
	filesDir string  // where they are on this machine
	quiet    *silence

	step  *install          // nil if the source goes in before the first command
	reads *dagger.Directory // what the install reads, and the rest of the closure; nil if they go in together
	rest  *dagger.Directory
}

// daggerBuilds makes the content in an engine. The images of an engine are not
// reproducible (times, the order of layers), so the files are exported and pass
// through the same steps as those of the embedded builder.
func daggerBuilds(e *engine.Engine, opts Options, quiet *silence) builder {
	return func(ctx context.Context, in Inputs, list []platform, use use) error {
		tmp, done, err := process.Scratch("dagger")
		if err != nil {
			return err
		}
		defer done()
		c, err := gitContent(ctx, in, len(in.Image.Run) == 0)
		if err != nil {
			return err
		}
		closure := filepath.Join(tmp, "closure")
		if err := errors.Join(mkdir(closure), c.export(ctx, closure)); err != nil {
			return fmt.Errorf("export the closure: %w", err)
		}
		files := filepath.Join(tmp, "files")
		named, err := givenFiles(os.Environ(), files)
		if err != nil {
			return err
		}
		r := daggerRun{
			engine: e, client: e.Client, opts: opts, in: in, source: e.Client.Host().Directory(closure), salt: filepath.Base(tmp),
			root: buildRoot, files: named, filesDir: files, quiet: quiet,
		}
		if opts.around != (around{}) {
			r.root += "-elsewhere"
		}
		r.noteLoopback(os.Environ())
		if err := r.divide(ctx, c, tmp); err != nil {
			return err
		}
		return r.each(ctx, list, func(names []string, platform dagger.Platform) error {
			out := filepath.Join(tmp, "out", strings.ReplaceAll(names[0], "/", "-"))
			return r.build(ctx, platform, out, func(c content) error { return use(names, c) })
		})
	}
}

// each calls fn once for every platform, or once for all of them if no command
// runs, because then the content is the same.
func (r daggerRun) each(ctx context.Context, list []platform, fn func(names []string, p dagger.Platform) error) error {
	var names []string
	for _, p := range list {
		names = append(names, p.name)
	}
	if len(r.in.Image.Run) == 0 {
		return fn(names, dagger.Platform(names[0]))
	}
	for _, p := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn([]string{p.name}, dagger.Platform(p.name)); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// divide separates what an install reads from the rest of the closure, below the folder
// tmp, so that the engine's cache has the install whatever the source is.
func (r *daggerRun) divide(ctx context.Context, c content, tmp string) error {
	step, why, err := divide(ctx, r.in, c)
	if err != nil {
		return err
	}
	if why != "" {
		r.opts.report(release.MarkNote, withSource, why)
	}
	if step == nil {
		return nil
	}
	reads, rest := filepath.Join(tmp, "reads"), filepath.Join(tmp, "rest")
	if err := errors.Join(mkdir(reads), mkdir(rest), step.reads.export(ctx, reads), step.source.export(ctx, rest)); err != nil {
		return fmt.Errorf("export the closure: %w", err)
	}
	r.step, r.reads, r.rest = step, r.client.Host().Directory(reads), r.client.Host().Directory(rest)
	return nil
}

// build runs the commands, exports the tree to the folder out, and then runs the
// tests in the tree that the commands left.
func (r daggerRun) build(ctx context.Context, p dagger.Platform, out string, use func(content) error) error {
	built, err := r.make(ctx, p, out)
	if err != nil {
		return err
	}
	c, err := readDir(out)
	if err != nil {
		return fmt.Errorf("read what dagger made: %w", err)
	}
	if len(r.in.Image.Run) > 0 {
		if c, err = normalise(c, r.tree()); err != nil {
			return err
		}
	}
	if err := use(c); err != nil {
		return err
	}
	for _, args := range r.in.Image.Test {
		if built, err = r.run(ctx, built, args, p); err != nil {
			return err
		}
	}
	return nil
}

// Paths of the tree, the home folder and the package stores in the engine. They are
// those of the embedded builder, because tools write paths into their output.
func (r daggerRun) tree() string   { return r.root + "/app" }
func (r daggerRun) home() string   { return r.root + "/home" }
func (r daggerRun) stores() string { return r.home() + "/caches" }

// make runs the commands, puts the tree that they leave into the folder out, and returns
// the container in which the tests run.
func (r daggerRun) make(ctx context.Context, p dagger.Platform, out string) (*dagger.Container, error) {
	if len(r.in.Image.Run)+len(r.in.Image.Test) == 0 {
		return nil, r.export(ctx, r.source, out)
	}
	container := func() *dagger.Container {
		return r.toolchain(p).With(r.withClosure).With(r.withCaches).With(r.withEnvironment).With(r.withFiles).With(r.withSecrets)
	}
	if r.step != nil && len(r.in.Image.Run) == 1 {
		built, why, err := r.install(ctx, container(), p, out)
		if err != nil || why == "" {
			return built, err
		}
		r.opts.report(release.MarkNote, withSource, why)
		r.step, r.reads, r.rest = nil, nil, nil
		if err := process.RemoveAll(out); err != nil {
			return nil, err
		}
	}
	built, err := r.commands(ctx, container(), p)
	if err != nil {
		return nil, err
	}
	return built, r.export(ctx, built.Directory(r.tree()), out)
}

// toolchain is the image that commands run in. They run as root, whatever user the
// image names: root owns the closure and the caches in the engine.
func (r daggerRun) toolchain(p dagger.Platform) *dagger.Container {
	c := r.client.Container(dagger.ContainerOpts{Platform: p})
	if r.opts.rootfs != "" {
		return c.WithRootfs(r.client.Host().Directory(r.opts.rootfs)).WithUser("0:0")
	}
	return c.From(r.in.Image.Toolchain).WithUser("0:0")
}

func (r daggerRun) withClosure(c *dagger.Container) *dagger.Container {
	first := r.source
	if r.reads != nil {
		first = r.reads
	}
	return c.WithDirectory(r.tree(), first).WithWorkdir(r.tree())
}

// withCaches mounts the package stores and the image's caches, which persist between
// builds. An engine may serve many apps, so each image repository has its own, and
// so have a build without caches and the builds of a comparison.
func (r daggerRun) withCaches(c *dagger.Container) *dagger.Container {
	suffix := ""
	switch {
	case r.opts.stores != "":
		suffix = "-" + filepath.Base(filepath.Dir(r.opts.stores))
	case r.opts.cold():
		suffix = "-" + r.salt
	}
	mount := func(at, name string) {
		c = c.WithMountedCache(at, r.client.CacheVolume("shipit-"+r.in.Image.Repository+path.Clean("/"+name)+suffix))
	}
	mount(r.stores(), buildRoot+"/home/caches")
	for _, at := range r.in.Image.Caches {
		mount(strings.TrimPrefix(at, buildRoot+"/app/"), at) // relative to the tree, wherever it is
	}
	return c
}

// Variables that must not appear in an engine's log: credential matches their names,
// userInfo their values, such as a proxy's URL with a password.
var (
	credential = regexp.MustCompile(`(?i)auth|token|passw|secret|cert|key`)
	userInfo   = regexp.MustCompile(`://[^/]*@`)
)

func (r daggerRun) withEnvironment(c *dagger.Container) *dagger.Container {
	set := r.opts.around.variables(r.home(), r.stores())
	delete(set, "PATH") // the toolchain has its own
	if r.opts.cold() {
		set["SHIPIT_NO_CACHE"] = r.salt // or the engine knows the result already
	}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case !passed(name) || namesFiles(name):
		case credential.MatchString(name) || userInfo.MatchString(value):
			c = c.WithSecretVariable(name, r.client.SetSecret(name, value))
		default:
			set[name] = value
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c = c.WithEnvVariable(name, set[name])
	}
	return c
}

func (r daggerRun) withSecrets(c *dagger.Container) *dagger.Container {
	for _, name := range r.in.Image.Secrets {
		if value := os.Getenv(name); value != "" {
			c = c.WithSecretVariable(name, r.client.SetSecret(name, value))
		}
	}
	return c
}
