package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/joelhooks/shipit/pipeline/process"
)

// Artifact is a v1.Image or a v1.ImageIndex.
type Artifact interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

// scratch is the empty base.
const scratch = "scratch"

// platform is one platform of an artifact and its base image.
type platform struct {
	name string // os/arch[/variant]
	spec v1.Platform
	base v1.Image
	bare bool // without a base: a machine brings its own runtime
}

// platforms are the wanted platforms with their base images, sorted by name. Those of
// Macs have none: only machines run them.
func platforms(ctx context.Context, in Inputs, opts Options) ([]platform, error) {
	wanted := slices.Compact(slices.Sorted(slices.Values(in.Image.WantedPlatforms())))
	var out []platform
	var based []string
	for _, name := range wanted {
		if in.Image.Base != scratch && !strings.HasPrefix(name, "darwin/") {
			based = append(based, name)
			continue
		}
		spec, err := v1.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		out = append(out, platform{name: name, spec: *spec, base: empty.Image, bare: true})
	}
	if len(based) == 0 && len(out) > 0 {
		return out, nil
	}
	found, err := onBase(ctx, in, based, opts)
	if err != nil {
		return nil, err
	}
	out = append(out, found...)
	slices.SortFunc(out, func(a, b platform) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// onBase are the platforms of the image's base that are wanted; all if none is named.
func onBase(ctx context.Context, in Inputs, wanted []string, opts Options) ([]platform, error) {
	if opts.Base == nil {
		return nil, errors.New("no registry to fetch the base from")
	}
	base, err := opts.Base(ctx, in.Image.Base)
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", in.Image.Base, err)
	}
	all, err := basePlatforms(base)
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", in.Image.Base, err)
	}
	out, err := choose(all, wanted)
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", in.Image.Base, err)
	}
	return out, nil
}

// basePlatforms are the images of a base by platform, sorted, without attestations.
func basePlatforms(base Artifact) ([]platform, error) {
	if img, ok := base.(v1.Image); ok {
		cfg, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		spec := v1.Platform{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant}
		return []platform{{name: spec.String(), spec: spec, base: img}}, nil
	}
	index, ok := base.(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("%T is neither an image nor an index", base)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []platform
	for _, d := range list.Manifests {
		// An index lists attestations with the platform "unknown/unknown".
		if !d.MediaType.IsImage() || d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		spec := v1.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
		out = append(out, platform{name: spec.String(), spec: spec, base: img})
	}
	slices.SortFunc(out, func(a, b platform) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// choose returns the wanted platforms, or all if none is wanted. linux/arm64 also
// matches linux/arm64/v8.
func choose(all []platform, wanted []string) ([]platform, error) {
	if len(wanted) == 0 && len(all) > 0 {
		return all, nil
	}
	var out []platform
	for _, name := range wanted {
		i := slices.IndexFunc(all, func(p platform) bool {
			return p.name == name || p.spec.OS+"/"+p.spec.Architecture == name
		})
		if i < 0 {
			var has []string
			for _, p := range all {
				has = append(has, p.name)
			}
			return nil, fmt.Errorf("has no platform %s, only %s", name, strings.Join(has, ", "))
		}
		out = append(out, all[i])
	}
	if len(out) == 0 {
		return nil, errors.New("names no platform")
	}
	return out, nil
}

// named are the platforms of list with one of the names.
func named(list []platform, names []string) []platform {
	return slices.DeleteFunc(slices.Clone(list), func(p platform) bool { return !slices.Contains(names, p.name) })
}

// assemble appends the layers of every platform to its base. It returns one image,
// or an index of several in the order of their names.
func assemble(in Inputs, list []platform, layers map[string][]layer) (Artifact, error) {
	var adds []mutate.IndexAddendum
	for _, p := range list {
		img, err := assembleImage(in, p, layers[p.name])
		if err != nil {
			return nil, fmt.Errorf("assemble %s: %w", p.name, err)
		}
		if len(list) == 1 {
			return img, nil
		}
		spec := p.spec
		adds = append(adds, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &spec}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...), nil
}

func assembleImage(in Inputs, p platform, layers []layer) (v1.Image, error) {
	cfg, err := p.base.ConfigFile()
	if err != nil {
		return nil, err
	}
	below, err := p.base.Layers()
	if err != nil {
		return nil, err
	}
	var adds []mutate.Addendum
	for _, l := range below {
		mt, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: ociLayer(mt)})
	}
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: types.OCILayer})
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.Append(img, adds...); err != nil {
		return nil, err
	}
	stacked, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	final := imageConfig(in, p, cfg)
	final.RootFS = stacked.RootFS
	for _, l := range layers {
		final.History = append(final.History, v1.History{Created: epoch(), CreatedBy: "shipit", Comment: l.Content})
	}
	return mutate.ConfigFile(img, final)
}

// ociLayer is the OCI media type for a Docker one; the bytes are the same.
func ociLayer(mt types.MediaType) types.MediaType {
	switch mt {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case types.DockerForeignLayer:
		return types.OCIRestrictedLayer
	}
	return mt
}

func epoch() v1.Time { return v1.Time{Time: time.Unix(0, 0).UTC()} }

// imageConfig is the base's configuration overridden by the image's own. Labels,
// ports and health check describe the base, so they are not inherited.
func imageConfig(in Inputs, p platform, base *v1.ConfigFile) *v1.ConfigFile {
	c := v1.Config{
		Env:        process.Environment(base.Config.Env, in.Image.Env),
		User:       in.Image.UserOr(),
		WorkingDir: path.Join(imageRoot, in.Closure.Package),
		Entrypoint: base.Config.Entrypoint,
		Cmd:        base.Config.Cmd,
		StopSignal: base.Config.StopSignal,
		Volumes:    base.Config.Volumes,
	}
	if len(in.Image.Entrypoint) > 0 {
		c.Entrypoint, c.Cmd = in.Image.Entrypoint, nil
	}
	if in.SourceURL != "" {
		c.Labels = map[string]string{"org.opencontainers.image.source": in.SourceURL}
	}
	return &v1.ConfigFile{
		OS: p.spec.OS, Architecture: p.spec.Architecture, Variant: p.spec.Variant,
		Created: epoch(), History: slices.Clone(base.History), Config: c,
	}
}

// describe lists the platforms of an artifact, and the digests beside its own
// that a runtime may report for it: those of platform manifests and of configs.
func describe(a Artifact) (platformNames, aliases []string, err error) {
	list, err := basePlatforms(a)
	if err != nil {
		return nil, nil, err
	}
	top, err := a.Digest()
	if err != nil {
		return nil, nil, err
	}
	for _, p := range list {
		manifest, err := p.base.Digest()
		if err != nil {
			return nil, nil, err
		}
		config, err := p.base.ConfigName()
		if err != nil {
			return nil, nil, err
		}
		platformNames = append(platformNames, p.name)
		if manifest != top {
			aliases = append(aliases, manifest.String())
		}
		aliases = append(aliases, config.String())
	}
	return platformNames, aliases, nil
}
