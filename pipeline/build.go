package pipeline

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/proof"
	"github.com/joelhooks/shipit/tracing"
)

// Build makes the image of the inputs, from cached layers if there are any. It
// pushes nothing.
func Build(ctx context.Context, in Inputs, opts Options) (built Built, err error) {
	ctx, end := tracing.Span(ctx, "build "+in.Name)
	defer func() { end(err) }()
	store, err := openCache(opts.CacheDir)
	if err != nil {
		return Built{}, fmt.Errorf("open the cache: %w", err)
	}
	list, err := platforms(ctx, in, opts)
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", in.Name, err)
	}
	made, cached := build{}, false
	if !opts.NoCache && !opts.rebuild {
		made, cached = store.load(in.Key)
	}
	if !cached {
		if opts.NoRun && runsCommands(in) {
			return Built{}, &NotBuiltError{Image: in.Name}
		}
		if made, err = makeLayers(ctx, in, list, store, opts); err != nil {
			return Built{}, fmt.Errorf("build %s: %w", in.Name, err)
		}
		if err := store.store(in.Key, made); err != nil {
			return Built{}, fmt.Errorf("cache the layers of %s: %w", in.Name, err)
		}
	}
	artifact, err := assemble(in, list, made.Layers)
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", in.Name, err)
	}
	built = Built{Name: in.Name, Key: in.Key, Artifact: artifact, Builder: made.Builder, Cached: cached}
	digest, err := artifact.Digest()
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", in.Name, err)
	}
	built.Digest = digest.String()
	built.Platforms, built.Aliases, err = describe(artifact)
	return built, err
}

// NotBuiltError says that Options.NoRun is set and the build of an image would run
// commands of the repository.
type NotBuiltError struct{ Image string }

func (e *NotBuiltError) Error() string {
	return fmt.Sprintf("image %s is not built: its build runs commands, and none may run here", e.Image)
}

// Hint is what to do about it.
func (e *NotBuiltError) Hint() string {
	return "build it first with `shipit build --no-push --cache DIR`, and use the same --cache here"
}

// runsCommands reports whether code of the repository runs when the image is built or proven.
func runsCommands(in Inputs) bool {
	img := in.Image
	return len(img.Run)+len(img.Test)+len(img.Functions) > 0 || img.Prove.Start > 0
}

// prove resolves or starts the entry points in the built tree, unless prove.skip is
// set or the build is only compared.
func prove(ctx context.Context, in Inputs, list []platform, c content, opts Options) error {
	if in.Image.Prove.Skip || opts.unproven {
		return nil
	}
	store, err := openCache(opts.CacheDir)
	if err != nil {
		return err
	}
	tree, done, err := onDisk(ctx, c)
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	defer done()
	return proof.Subject{
		Image: in.Image, Closure: in.Closure, Scripts: in.scripts, Roles: in.roles, Shared: in.shared,
		Committed: in.Source.Has, Tree: tree, Base: native(list), CacheDir: store.dir, Progress: opts.Progress,
	}.Run(ctx)
}

// native is the base image for the platform of this machine; nil if there is none.
func native(list []platform) v1.Image {
	for _, p := range list {
		if p.osArch() == machine() && !p.bare {
			return p.base
		}
	}
	return nil
}

// use takes the content that a builder made for some platforms. The folder of the
// content may be removed when use has returned.
type use func(platforms []string, c content) error

// makeLayers runs the builder, proves what it made, and writes the layers.
func makeLayers(ctx context.Context, in Inputs, list []platform, store cache, opts Options) (build, error) {
	opts.Progress = serially(opts.Progress)
	with, err := chooseBuilder(ctx, in, opts)
	if err != nil {
		return build{}, err
	}
	defer with.close()
	made := build{Builder: with.name, Layers: map[string][]layer{}}
	if err := with.runsServices(in); err != nil {
		return build{}, err
	}
	err = with.make(ctx, in, list, func(names []string, c content) error {
		if len(in.Image.Run)+len(in.Image.Test) > 0 {
			if err := verifyInstalled(ctx, in, c, named(list, names), opts); err != nil {
				return err
			}
		}
		c = c.without(treeCaches(in.Image))
		if err := prove(ctx, in, named(list, names), c, opts); err != nil {
			return err
		}
		var layers []layer
		for _, part := range split(c) {
			l, err := store.layerOf(ctx, part)
			if err != nil {
				return fmt.Errorf("write the layer of %s: %w", part.Entries[0].Path, err)
			}
			layers = append(layers, l)
		}
		for _, n := range names {
			made.Layers[n] = layers
		}
		return nil
	})
	return made, err
}

// treeCaches are those of the image's caches that are in the tree, as paths in it,
// sorted. They outlive a build, so their content is left out of the image.
func treeCaches(img config.Image) []string {
	var out []string
	for _, at := range img.Caches {
		at = path.Clean(at)
		if path.IsAbs(at) {
			rest, ok := strings.CutPrefix(at, buildRoot+"/app/")
			if !ok {
				continue
			}
			at = rest
		}
		out = append(out, at)
	}
	slices.Sort(out)
	return out
}

// builder makes the content for the platforms and passes it to use. The tests have
// passed when it returns, though not when it calls use.
type builder func(ctx context.Context, in Inputs, list []platform, use use) error

// tester runs the commands and then the tests, and makes no content.
type tester func(ctx context.Context, in Inputs, list []platform) ([]TestResult, error)
