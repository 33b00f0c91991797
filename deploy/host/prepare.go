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

// treeOf gives the content of an image for a platform such as linux/amd64; it is to be
// closed.
type treeOf func(ctx context.Context, ref, platform string) *content.Tree

// image is what the role's release directory must hold. Its Files are known if the role's
// Files are of a machine with the same platform.
func (r runner) image(role release.Role) content.Image {
	files, _ := strings.CutPrefix(role.Files, r.Platform+":")
	if files == role.Files {
		files = ""
	}
	return content.Image{Digest: role.Digest, Files: files}
}

// prepare unpacks the role's image into its release directory on the machine, and
// returns the role with its Files. A release directory that exists is read and compared
// with the image; if it differs, the image is unpacked again. No running process is
// affected: a damaged directory in which one works is replaced by activate, after the
// service has stopped.
//
// After an error the release directory is what it was before.
func (r runner) prepare(ctx context.Context, role release.Role, tree treeOf) (release.Role, error) {
	d, err := service.Define(role)
	if err != nil {
		return role, err
	}
	if d.Found != nil {
		return role, nil // it is on the machine, or nowhere
	}
	defer r.Lock(d.ReleaseDir())()
	store, short, began := r.store(d), release.ShortDigest(d.Digest), time.Now()
	if err := store.PrepareStaging(ctx); err != nil {
		return role, err
	}
	image, err := r.verified(ctx, d, r.image(role), imageSource{role, tree})
	var damaged *content.DamagedError
	switch {
	case err == nil:
		_ = store.SaveStats(ctx, d.Digest)
		r.report(d, release.PhaseApply, release.MarkDone, short+" is on "+r.Name, time.Since(began))
		return r.known(role, image), nil
	case errors.As(err, &damaged):
		r.report(d, release.PhaseApply, release.MarkNote, damaged.Error()+"; it is unpacked again", 0)
	case !errors.Is(err, content.ErrAbsent):
		return role, err
	}
	r.report(d, release.PhaseApply, release.MarkStart, "unpack "+short+" on "+r.Name, 0)
	like := d.Link()
	if damaged != nil {
		like = "" // what is there may be what is damaged
	}
	sent := tree(ctx, role.Reference(), r.Platform)
	defer sent.Close()
	if image.Files, err = store.Unpack(ctx, d.Digest, sent, like); err != nil {
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

// imageSource is a role, and what gives the content of its image.
type imageSource struct {
	role release.Role
	tree treeOf
}

// files are the Files of the image, computed from its layers.
func (r runner) files(ctx context.Context, of imageSource) (string, error) {
	tree := of.tree(ctx, of.role.Reference(), r.Platform)
	defer tree.Close()
	return tree.Files(ctx)
}

// verified reads all of the release directory and compares it with the image, whose Files
// it also returns. If no record has the Files, they are computed from the layers. If the
// layers cannot be fetched, the directory is compared with its own lists only, which is
// reported: a rollback must work while the registry is away.
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
