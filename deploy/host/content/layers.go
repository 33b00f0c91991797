package content

import (
	"context"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Layers are the layers of an image that shipit put over its base: a machine brings
// its own runtime. They are counted from the top: a base need not say of each of
// its layers what made it, but above it the history is shipit's.
func Layers(img v1.Image) ([]Layer, error) {
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
	var above []Layer
	for i, l := range all[base:] {
		above = append(above, Layer{
			DiffID: config.RootFS.DiffIDs[base+i].String(),
			Open:   func(context.Context) (io.ReadCloser, error) { return l.Uncompressed() },
		})
	}
	return above, nil
}
