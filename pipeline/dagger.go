package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dagger.io/dagger"
	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// daggerRun is the build of one image in an engine.
type daggerRun struct {
	engine  *engine.Engine
	client  *dagger.Client
	opts    Options
	in      Inputs
	closure closure // what goes in
	tmp     string  // folder of this run
	salt    string  // unique for each run
	root    string  // folder of the tree and the home folder

	files    []given // that the environment names
	filesDir string  // where they are on this machine

	step   *install          // nil if the whole closure goes in before the first command
	source *dagger.Directory // what goes in before the first command
	given  string            // its folder of this machine
	rest   *dagger.Directory // of the closure, which goes in after the install; nil without one
}

// daggerBuilds makes the content in an engine. The images of an engine are not
// reproducible (times, the order of layers), so the files are exported and pass
// through the same steps as those of the embedded builder.
func daggerBuilds(e *engine.Engine, opts Options) builder {
	return func(ctx context.Context, in Inputs, list []platform, use use) error {
		r, done, err := openDagger(ctx, in, daggerRun{engine: e, client: e.Client, opts: opts})
		if err != nil {
			return err
		}
		defer done()
		all, err := r.batches(ctx, in, list)
		if err != nil {
			return err
		}
		build := func(b batch) error {
			one, err := r.of(ctx, b)
			if err != nil {
				return err
			}
			return one.build(ctx, dagger.Platform(b.on), filepath.Join(one.tmp, "out"), func(c content) error { return use(b.names, c) })
		}
		return eachBatch(all, opts, func(b batch) error {
			err := build(b)
			var failed *scriptsError
			if errors.As(err, &failed) {
				return r.retried(ctx, b, list, failed, build)
			}
			return err
		})
	}
}

// openDagger completes r with what goes into the engine. done removes it again.
func openDagger(ctx context.Context, in Inputs, r daggerRun) (opened daggerRun, done func(), err error) {
	tmp, remove, err := process.Scratch(process.Dagger)
	if err != nil {
		return r, nil, err
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	files := filepath.Join(tmp, "files")
	named, err := givenFiles(os.Environ(), files)
	if err != nil {
		return r, nil, err
	}
	r.in, r.tmp, r.salt = in, tmp, filepath.Base(tmp)
	r.root, r.files, r.filesDir = buildRoot, named, files
	if r.opts.around != (around{}) {
		r.root += "-elsewhere"
	}
	r.noteLoopback(os.Environ())
	return r, remove, nil
}

// of is the run of a batch, in a folder of its own. What goes in is there.
func (r daggerRun) of(ctx context.Context, b batch) (daggerRun, error) {
	var err error
	if r.tmp, err = os.MkdirTemp(r.tmp, "batch-"); err != nil {
		return r, err
	}
	r.in = b.in
	if r.closure, err = closureOf(ctx, b.in); err != nil {
		return r, err
	}
	step, why, err := divide(ctx, r.in, r.closure.content)
	if err != nil {
		return r, err
	}
	if why != "" {
		r.opts.report(release.MarkNote, withSource, why)
	}
	if step == nil {
		return r.undivided(ctx)
	}
	return r.divided(ctx, step)
}

// divided is the run in which the rest of the closure follows what an install reads, so
// that the engine's cache has the install whatever the source is.
func (r daggerRun) divided(ctx context.Context, step *install) (daggerRun, error) {
	reads, rest := filepath.Join(r.tmp, "reads"), filepath.Join(r.tmp, "rest")
	if err := errors.Join(mkdir(reads), mkdir(rest), step.reads.export(ctx, reads), step.source.export(ctx, rest)); err != nil {
		return r, fmt.Errorf("export the closure: %w", err)
	}
	r.step, r.source, r.rest, r.given = step, r.client.Host().Directory(reads), r.client.Host().Directory(rest), reads
	return r, nil
}

// undivided is the run in which the whole closure goes in before the first command.
func (r daggerRun) undivided(ctx context.Context) (daggerRun, error) {
	whole := filepath.Join(r.tmp, "closure")
	if err := errors.Join(mkdir(whole), r.closure.export(ctx, whole)); err != nil {
		return r, fmt.Errorf("export the closure: %w", err)
	}
	r.step, r.source, r.rest, r.given = nil, r.client.Host().Directory(whole), nil, whole
	return r, nil
}

// build runs the commands, exports the tree to the folder out, and passes it to use. The
// tests run in the tree that the commands left, while it is exported and used.
func (r daggerRun) build(ctx context.Context, p dagger.Platform, out string, use func(content) error) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		err := r.make(ctx, p, out, func(built *dagger.Container) {
			both.Go(func() error {
				_, err := r.tests(ctx, built, p)
				return err
			})
		})
		if err != nil {
			return err
		}
		c, err := readDir(out)
		if err != nil {
			return fmt.Errorf("read what dagger made: %w", err)
		}
		if len(r.in.Image.Run) > 0 {
			if c, err = r.closure.taken(ctx, r.in, c); err != nil {
				return err
			}
			if c, err = normalise(c, r.tree()); err != nil {
				return err
			}
		}
		return use(c)
	})
	return both.Wait()
}

// Paths of the tree, the home folder and the package stores in the engine. They are
// those of the embedded builder, because tools write paths into their output.
func (r daggerRun) tree() string   { return r.root + "/app" }
func (r daggerRun) home() string   { return r.root + "/home" }
func (r daggerRun) stores() string { return r.home() + "/caches" }

// marker is a file beside the tree that is there while commands run.
func (r daggerRun) marker() string { return r.root + "/.building" }

// make runs the commands and puts the tree that they leave into the folder out. built is
// called before, with the container in which the tests run.
func (r daggerRun) make(ctx context.Context, p dagger.Platform, out string, built func(*dagger.Container)) error {
	if len(r.in.Image.Run)+len(r.in.Image.Test) == 0 {
		return r.takeFolder(ctx, r.source, out)
	}
	before := r.container(p)
	done, why, err := r.fromInstall(ctx, before, place{p, out, built})
	if why != "" && err == nil {
		r.opts.report(release.MarkNote, withSource, why)
		if err := process.RemoveAll(out); err != nil {
			return err
		}
		whole, err := r.undivided(ctx)
		if err != nil {
			return err
		}
		return whole.make(ctx, p, out, built)
	}
	if err != nil || done {
		return err
	}
	after, err := r.commands(ctx, before, p)
	if err != nil {
		return err
	}
	built(after)
	return r.take(ctx, before, after, out)
}

// take puts the tree that the commands left into the folder out, which is made.
func (r daggerRun) take(ctx context.Context, before, after *dagger.Container, out string) error {
	if err := mkdir(out); err != nil {
		return err
	}
	if err := (installCache{}).copy(ctx, r.given, out); err != nil {
		return err
	}
	return r.takeChanges(ctx, before, after, out)
}

// container is what the commands run in.
func (r daggerRun) container(p dagger.Platform) *dagger.Container {
	return r.toolchain(p).With(r.withClosure).With(r.withCaches(p)).With(r.withEnvironment).With(r.withFiles).With(r.withSecrets)
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
	return c.WithDirectory(r.tree(), r.source).WithWorkdir(r.tree()).WithNewFile(r.marker(), "")
}

// Variables that must not appear in an engine's log: credential matches their names,
// userInfo their values, such as a proxy's URL with a password.
var (
	credential = pattern.Lazy(`(?i)auth|token|passw|secret|cert|key`)
	userInfo   = pattern.Lazy(`://[^/]*@`)
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
		case credential().MatchString(name) || userInfo().MatchString(value):
			c = c.WithSecretVariable(name, r.client.SetSecret(name, value))
		default:
			set[name] = value
		}
	}
	for _, v := range sortedVariables(set) {
		c = c.WithEnvVariable(v.name, v.value)
	}
	return c
}

// variable is one variable of an environment.
type variable struct{ name, value string }

// sortedVariables are the variables of an environment, sorted by name.
func sortedVariables(set map[string]string) []variable {
	var out []variable
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, variable{name, set[name]})
	}
	return out
}

func (r daggerRun) withSecrets(c *dagger.Container) *dagger.Container {
	for _, name := range r.in.Image.Secrets {
		if value := os.Getenv(name); value != "" {
			c = c.WithSecretVariable(name, r.client.SetSecret(name, value))
		}
	}
	return c
}
