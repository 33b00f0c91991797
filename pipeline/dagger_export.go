package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/pipeline/ocilayout"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// errWholeFolder is why a tree must be taken out of an engine as a folder.
var errWholeFolder = errors.New("the layers of this engine do not say what was removed")

// takeChanges changes the folder out, which holds the tree as it went in, into the tree
// that the commands left. Only what they changed is taken out of the engine, as one file:
// an engine gives out a folder file by file, which for an installed node_modules takes
// many times as long.
func (r daggerRun) takeChanges(ctx context.Context, before, after *dagger.Container, out string) error {
	return r.told(ctx, func(ctx context.Context) error {
		err := r.applyChanges(ctx, before, after, out)
		if !errors.Is(err, errWholeFolder) {
			return err
		}
		if err := process.RemoveAll(out); err != nil {
			return err
		}
		_, err = after.Directory(r.tree()).Export(ctx, out)
		return err
	})
}

// applyChanges takes out an image whose layers are what came after before. The marker,
// which was there before and is removed in the end, shows that these layers say what was
// removed, whatever the engine is.
func (r daggerRun) applyChanges(ctx context.Context, before, after *dagger.Container, out string) error {
	file := out + ".tar"
	defer os.Remove(file)
	changed := r.client.Container().WithRootfs(before.Rootfs().Diff(after.WithoutFile(r.marker()).Rootfs()))
	_, err := changed.Export(ctx, file, dagger.ContainerExportOpts{
		ForcedCompression: dagger.ImageLayerCompressionUncompressed, MediaTypes: dagger.ImageMediaTypesOcimediaTypes,
	})
	if err != nil {
		return err
	}
	archive, err := ocilayout.Open(file)
	if err != nil {
		return fmt.Errorf("read what the engine gave out: %w", err)
	}
	defer archive.Close()
	removed, err := archive.Removes(ctx, r.marker())
	if err != nil {
		return fmt.Errorf("read what the engine gave out: %w", err)
	}
	if !removed {
		return errWholeFolder
	}
	return archive.Apply(ctx, r.tree(), out)
}

// takeFolder writes a folder of the engine to the folder out of this machine.
func (r daggerRun) takeFolder(ctx context.Context, tree *dagger.Directory, out string) error {
	return r.told(ctx, func(ctx context.Context) error {
		_, err := tree.Export(ctx, out)
		return err
	})
}

// told tells the start and the end of take, which takes files out of the engine.
func (r daggerRun) told(ctx context.Context, take func(context.Context) error) error {
	r.opts.report(release.MarkStart, "take %s out of the engine", r.in.Name)
	took, err := r.waited(ctx, "take "+r.in.Name+" out of the engine", "the engine, which gives out files,", take)
	if err != nil {
		return r.explain(ctx, err)
	}
	r.opts.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "took " + r.in.Name + " out of the engine", Took: took})
	return nil
}
