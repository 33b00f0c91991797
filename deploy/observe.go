package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/joelhooks/shipit/release"
)

// observeLimit is how long the roles have to tell what they run.
const observeLimit = 30 * time.Second

// observe reads what runs now; a role that cannot be read has nothing live, and
// that is reported.
func (e Engine) observe(ctx context.Context, rel release.Release) map[string]release.Live {
	live, err := e.observeAll(ctx, rel)
	if err != nil {
		e.report(release.PhaseVerify, release.MarkNote, "", "read what runs: %s", release.OneLine(err.Error()))
	}
	return live
}

// observeSince reads the roles again that were seen before the rollout last
// touched anything.
func (e Engine) observeSince(ctx context.Context, rel release.Release, out rollout) map[string]release.Live {
	fresh := func(r release.Role) bool { return out.live[r.Name].At.After(out.touchedAt) }
	stale := rel
	stale.Roles = slices.DeleteFunc(slices.Clone(rel.Roles), fresh)
	live := e.observe(ctx, stale)
	for _, r := range rel.Roles {
		if fresh(r) {
			live[r.Name] = out.live[r.Name]
		}
	}
	return live
}

func (e Engine) observeAll(ctx context.Context, rel release.Release) (map[string]release.Live, error) {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	live := map[string]release.Live{}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs []error
	)
	for _, role := range rel.Roles {
		t, err := e.target(role)
		if err != nil {
			continue // the configuration no longer names it: what it runs stays unknown
		}
		wg.Go(func() {
			l, err := t.Observe(ctx, role)
			mu.Lock()
			defer mu.Unlock()
			live[role.Name] = l
			if err != nil {
				errs = append(errs, fmt.Errorf("observe %s: %w", role.Name, err))
			}
		})
	}
	wg.Wait()
	return live, errors.Join(errs...)
}
