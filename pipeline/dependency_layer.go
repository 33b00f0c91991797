package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// installLayer is what is known of the node_modules that the install of that key has made,
// and nothing else: with the layer that an earlier build wrote for it, neither is a file
// read nor a byte compressed again. install is "" if something else ran.
func (s staging) installLayer(in Inputs, install string) (installLayer, error) {
	if install == "" {
		return installLayer{}, nil
	}
	store, err := openCache(s.opts.CacheDir)
	if err != nil {
		return installLayer{}, err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %q\n", install, compressor, s.seen, treeCaches(in.Image))
	known := installLayer{key: "dependencies-" + hex.EncodeToString(sum.Sum(nil))}
	if b, ok := store.load(known.key); ok && len(b.Layers[""]) == 1 {
		known.layer = &b.Layers[""][0]
	}
	return known, nil
}

// layerOf is the layer of a part of an image: the one that is known of its install, or a
// new one.
func (c cache) layerOf(ctx context.Context, part content) (layer, error) {
	dependencies := workspace.InNodeModules(part.Entries[0].Path)
	if dependencies && part.dependencies.layer != nil {
		return *part.dependencies.layer, nil
	}
	l, err := writeLayer(ctx, c.blobs(), part)
	if err != nil || !dependencies || part.dependencies.key == "" {
		return l, err
	}
	return l, c.store(part.dependencies.key, build{Layers: map[string][]layer{"": {l}}})
}
