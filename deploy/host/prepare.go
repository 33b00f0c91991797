package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// layersOf gives the layers of an image for a platform such as linux/amd64, lowest
// first.
type layersOf func(ctx context.Context, ref, platform string) ([]content.Layer, error)

// image is what the role's release directory holds. Its Files are known if the role's
// were learnt on a machine of the same platform.
func (r runner) image(role release.Role) content.Image {
	files, _ := strings.CutPrefix(role.Files, r.Platform+":")
	if files == role.Files {
		files = ""
	}
	return content.Image{Digest: role.Digest, Files: files}
}

// prepare puts the role's content on the machine, in its release directory, and
// returns the role with its Files. Content that is there already is read back and left
// alone if it is what the image holds; otherwise it is unpacked again. Nothing that
// runs is touched: a damaged directory that a process works in stays until activate
// has stopped the service.
//
// After an error of prepare, nothing stands in the release directory that was not
// there before.
func (r runner) prepare(ctx context.Context, role release.Role, layers layersOf) (release.Role, error) {
	d, err := service.Define(role)
	if err != nil {
		return role, err
	}
	defer r.Lock(d.ReleaseDir())()
	store, short, began := r.store(d), release.ShortDigest(d.Digest), time.Now()
	if err := store.Sweep(ctx); err != nil {
		return role, err
	}
	image, err := r.verified(ctx, d, r.image(role), imageSource{role, layers})
	var damaged *content.DamagedError
	switch {
	case err == nil:
		_ = store.NoteStats(ctx, d.Digest)
		r.report(d, release.PhaseApply, release.MarkDone, short+" is on "+r.Name, time.Since(began))
		return r.known(role, image), nil
	case errors.As(err, &damaged):
		r.report(d, release.PhaseApply, release.MarkNote, damaged.Error()+"; it is unpacked again", 0)
	case !errors.Is(err, content.ErrAbsent):
		return role, err
	}
	r.report(d, release.PhaseApply, release.MarkStart, "unpack "+short+" on "+r.Name, 0)
	list, err := layers(ctx, role.Reference(), r.Platform)
	if err == nil {
		image.Files, err = store.Unpack(ctx, d.Digest, list)
	}
	if err != nil {
		return role, fmt.Errorf("unpack %s: %w", short, err)
	}
	r.report(d, release.PhaseApply, release.MarkDone, "unpacked "+short+" on "+r.Name, time.Since(began))
	return r.known(role, image), nil
}

// known is the role with the Files of its image.
func (r runner) known(role release.Role, image content.Image) release.Role {
	if image.Files != "" {
		role.Files = r.Platform + ":" + image.Files
	}
	return role
}

// imageSource is a role, and what gives the layers of its image.
type imageSource struct {
	role   release.Role
	layers layersOf
}

// files are the Files of the image, as its layers tell.
func (r runner) files(ctx context.Context, of imageSource) (string, error) {
	layers, err := of.layers(ctx, of.role.Reference(), r.Platform)
	if err != nil {
		return "", err
	}
	return content.Files(ctx, layers)
}

// verified reads all of the release directory, and compares it with the image. If no
// record tells the image's Files, its layers do. Where they cannot be fetched either,
// the directory counts by its own lists, which is reported: with the registry away, a
// way back must stay.
func (r runner) verified(ctx context.Context, d service.Definition, image content.Image, of imageSource) (content.Image, error) {
	err := r.store(d).Verify(ctx, image, true)
	if err != nil || image.Files != "" {
		return image, err
	}
	files, err := r.files(ctx, of)
	if err != nil {
		if ctx.Err() != nil {
			return image, context.Cause(ctx)
		}
		r.report(d, release.PhaseApply, release.MarkNote,
			release.ShortDigest(d.Digest)+" on "+r.Name+" is not compared with its image: "+machine.Excerpt(err.Error()), 0)
		return image, nil
	}
	image.Files = files
	return image, r.store(d).Verify(ctx, image, true)
}
