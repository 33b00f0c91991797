package pipeline

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// NotReproducibleError is the first difference between two builds of the same
// inputs.
type NotReproducibleError struct {
	Image  string // its name in shipit.yaml
	Path   string // in the image, or "config"
	Field  string // content, mode, order, link, type, presence, encoding or config
	First  string // what the first build has
	Second string
}

func (e *NotReproducibleError) Error() string {
	return fmt.Sprintf("%s is not reproducible: the %s of %s is %s in one build and %s in another", e.Image, e.Field, e.Path, e.First, e.Second)
}

// checkReproducible builds the inputs twice and compares the results. The first build
// has empty package stores, another folder, umask, local day and number of CPUs; the
// second is an ordinary one with the stores that the first has filled. Both run their
// commands: an engine knows no result of either. A difference is a
// *NotReproducibleError. It returns the second build.
func checkReproducible(ctx context.Context, in Inputs, opts Options) (Built, error) {
	dir, done, err := process.Scratch(process.Reproducible)
	if err != nil {
		return Built{}, err
	}
	defer done()
	opts.rebuild, opts.stores = true, filepath.Join(dir, "packages")
	elsewhere := opts
	elsewhere.unproven = true // the second build is proven
	elsewhere.CacheDir, elsewhere.buildRoot = dir, filepath.Join(dir, "build")
	elsewhere.around = surroundings(time.Now())
	first, err := Build(ctx, in, elsewhere)
	if err != nil {
		return Built{}, fmt.Errorf("first build: %w", err)
	}
	second, err := Build(ctx, in, opts)
	if err != nil {
		return Built{}, fmt.Errorf("second build: %w", err)
	}
	if first.Digest == second.Digest {
		opts.report(release.MarkDone, "two builds, cold and warm, that differ in folder, umask, local day and CPUs gave %s", second.Digest)
		return second, nil
	}
	return second, compare(in.Name, first.Artifact, second.Artifact)
}

// compare finds the first difference between two artifacts.
func compare(name string, a, b Artifact) error {
	first, err := basePlatforms(a)
	if err != nil {
		return err
	}
	second, err := basePlatforms(b)
	if err != nil {
		return err
	}
	for i := range first {
		if err := compareImages(first[i].base, second[i].base); err != nil {
			var differs *NotReproducibleError
			if errors.As(err, &differs) {
				differs.Image = name
			}
			return err
		}
	}
	return nil
}

func compareImages(a, b v1.Image) error {
	first, err := a.Layers()
	if err != nil {
		return err
	}
	second, err := b.Layers()
	if err != nil {
		return err
	}
	for i := range min(len(first), len(second)) {
		x, err := first[i].DiffID()
		if err != nil {
			return err
		}
		y, err := second[i].DiffID()
		if err != nil {
			return err
		}
		if x == y {
			continue
		}
		if err := compareLayers(first[i], second[i]); err != nil {
			return err
		}
	}
	if len(first) != len(second) {
		return &NotReproducibleError{Path: "config", Field: "config", First: fmt.Sprint(len(first)), Second: fmt.Sprint(len(second))}
	}
	x, err := a.ConfigName()
	if err != nil {
		return err
	}
	y, err := b.ConfigName()
	if err != nil || x == y {
		return err
	}
	return &NotReproducibleError{Path: "config", Field: "config", First: x.String(), Second: y.String()}
}

// item is one entry of a layer's tar.
type item struct {
	name, kind, link, sum string
	mode                  int64
}

func items(l v1.Layer) ([]item, map[string]bool, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var out []item
	names := map[string]bool{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, names, nil
		}
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, tr); err != nil {
			return nil, nil, err
		}
		out = append(out, item{name: "/" + h.Name, kind: string(h.Typeflag), link: h.Linkname, mode: h.Mode, sum: fmt.Sprintf("%x", sum.Sum(nil)[:6])})
		names["/"+h.Name] = true
	}
}

func compareLayers(a, b v1.Layer) error {
	first, inFirst, err := items(a)
	if err != nil {
		return err
	}
	second, inSecond, err := items(b)
	if err != nil {
		return err
	}
	for i := range min(len(first), len(second)) {
		x, y := first[i], second[i]
		switch {
		case x == y:
		case x.name != y.name && !inSecond[x.name]:
			return differ(x.name, "presence", "there", "not there")
		case x.name != y.name && !inFirst[y.name]:
			return differ(y.name, "presence", "not there", "there")
		case x.name != y.name:
			return differ(x.name, "order", fmt.Sprintf("entry %d", i), "another")
		case x.kind != y.kind:
			return differ(x.name, "type", x.kind, y.kind)
		case x.link != y.link:
			return differ(x.name, "link", x.link, y.link)
		case x.mode != y.mode:
			return differ(x.name, "mode", fmt.Sprintf("%o", x.mode), fmt.Sprintf("%o", y.mode))
		default:
			return differ(x.name, "content", x.sum, y.sum)
		}
	}
	switch {
	case len(first) > len(second):
		return differ(first[len(second)].name, "presence", "there", "not there")
	case len(second) > len(first):
		return differ(second[len(first)].name, "presence", "not there", "there")
	}
	return differ("the layer", "encoding", "one", "another")
}

func differ(path, field, first, second string) error {
	return &NotReproducibleError{Path: path, Field: field, First: first, Second: second}
}
