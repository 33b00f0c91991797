package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layers are those of the image ref for a platform that shipit put over its
// base: a machine brings its own runtime.
func (t *Target) layers(ctx context.Context, ref, platform string) ([]layer, error) {
	if t.o.ImageFor == nil {
		return nil, errors.New("fetch " + ref + ": there is no way to the registry")
	}
	img, err := t.o.ImageFor(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	above, err := layersAboveBase(img)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return above, nil
}

// layersAboveBase are counted from the top: a base need not say of each of its
// layers what made it, but above it the history is shipit's.
func layersAboveBase(img v1.Image) ([]layer, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	all, err := img.Layers()
	if err != nil {
		return nil, err
	}
	count := 0
	for _, h := range slices.Backward(config.History) {
		if h.CreatedBy != "shipit" {
			break
		}
		count++
	}
	base := len(all) - count
	if count == 0 || base < 0 || len(config.RootFS.DiffIDs) != len(all) {
		return nil, fmt.Errorf("its history names %d layers of shipit, and it has %d in all", count, len(all))
	}
	var above []layer
	for i, l := range all[base:] {
		above = append(above, layer{
			DiffID: config.RootFS.DiffIDs[base+i].String(),
			Open:   func(context.Context) (io.ReadCloser, error) { return l.Uncompressed() },
		})
	}
	return above, nil
}
