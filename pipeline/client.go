package pipeline

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dagger.io/dagger"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/joelhooks/shipit/pipeline/process"
)

// InEngine is an image that was built, in the engine of a client.
type InEngine struct {
	Image Image

	client *dagger.Client
	file   *dagger.File // the image as an OCI archive
}

// Container is the image, layer by layer as it would be pushed: to start, to extend, to
// bind as a service. platform is one of the image's; "" is the engine's own.
func (i InEngine) Container(platform dagger.Platform) *dagger.Container {
	return i.client.Container(dagger.ContainerOpts{Platform: platform}).Import(i.file)
}

// Directory is what shipit put on the image's base: its folder /app.
func (i InEngine) Directory(platform dagger.Platform) *dagger.Directory {
	return i.Container(platform).Directory(imageRoot)
}

// BuildIn builds the image of the inputs in the engine of a client, which stays open, and
// returns it there. Nothing is pushed. What is returned lasts as long as the client.
func (p Publisher) BuildIn(ctx context.Context, client *dagger.Client, in Inputs) (InEngine, error) {
	p.Options.Client = client
	built, err := p.build(ctx, in)
	if err != nil {
		return InEngine{}, err
	}
	dir, done, err := process.Scratch(process.Image)
	if err != nil {
		return InEngine{}, err
	}
	defer done()
	archive := filepath.Join(dir, "image.tar")
	if err := writeImageArchive(built.Artifact, filepath.Join(dir, "layout"), archive); err != nil {
		return InEngine{}, fmt.Errorf("write %s: %w", in.Name, err)
	}
	// The engine takes the file once for each client, and then the folder may go.
	file := client.Host().File(archive)
	if _, err := file.Sync(ctx); err != nil {
		return InEngine{}, fmt.Errorf("hand %s to the engine: %w", in.Name, err)
	}
	return InEngine{Image: p.imageFromBuild(in, built), client: client, file: file}, nil
}

// writeImageArchive writes an artifact as an OCI archive; dir becomes its layout.
func writeImageArchive(a Artifact, dir, file string) error {
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	switch a := a.(type) {
	case v1.Image:
		err = at.AppendImage(a)
	case v1.ImageIndex:
		err = at.AppendIndex(a)
	}
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), out.Close())
}
