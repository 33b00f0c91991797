package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// layersOf gives the layers of an image for a platform such as linux/amd64, lowest
// first.
type layersOf func(ctx context.Context, ref, platform string) ([]content.Layer, error)

// prepare puts the role's content on the machine, in its release directory. Content
// that is there already is read back and left alone; if it was damaged it is unpacked
// again. Nothing that runs is touched: a damaged directory that a process works in
// stays until activate has stopped the service.
//
// After an error of prepare, nothing stands in the release directory that was not
// there before.
func (r runner) prepare(ctx context.Context, role release.Role, layers layersOf) error {
	d, err := service.Define(role)
	if err != nil {
		return err
	}
	defer r.Lock(d.ReleaseDir())()
	store, short, began := r.store(d), release.ShortDigest(d.Digest), time.Now()
	if err := store.Sweep(ctx); err != nil {
		return err
	}
	err = store.Verify(ctx, d.Digest, true)
	var damaged *content.DamagedError
	switch {
	case err == nil:
		_ = store.NoteStats(ctx, d.Digest)
		r.report(d, release.PhaseApply, release.MarkDone, short+" is on "+r.Name, time.Since(began))
		return nil
	case errors.As(err, &damaged):
		r.report(d, release.PhaseApply, release.MarkNote, damaged.Error()+"; it is unpacked again", 0)
	case !errors.Is(err, content.ErrAbsent):
		return err
	}
	r.report(d, release.PhaseApply, release.MarkStart, "unpack "+short+" on "+r.Name, 0)
	list, err := layers(ctx, role.Reference(), r.Platform)
	if err == nil {
		err = store.Unpack(ctx, d.Digest, list)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", short, err)
	}
	r.report(d, release.PhaseApply, release.MarkDone, "unpacked "+short+" on "+r.Name, time.Since(began))
	return nil
}
