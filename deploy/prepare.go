package deploy

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/joelhooks/shipit/release"
)

// prepare brings to every target what its roles need, to all at once; nothing that runs
// is touched. It returns the release with what was learned of its roles. The error names
// every role that could not be prepared.
func (e Engine) prepare(ctx context.Context, rel release.Release) (release.Release, error) {
	prepared, errs := slices.Clone(rel.Roles), make([]error, len(rel.Roles))
	var all sync.WaitGroup
	for i, role := range rel.Roles {
		all.Go(func() {
			var err error
			if prepared[i], err = e.prepareRole(ctx, role); err != nil {
				errs[i] = roleError(role, err)
			}
		})
	}
	all.Wait()
	rel.Roles = prepared
	return rel, errors.Join(errs...)
}

// prepareRole brings to a role's target what the role needs. It returns the role with what
// was learned of it.
func (e Engine) prepareRole(ctx context.Context, role release.Role) (release.Role, error) {
	t, err := e.target(role)
	if err != nil {
		return role, err
	}
	return t.Prepare(ctx, role)
}

// preparation is roles that are being prepared, all at once.
type preparation struct {
	roles []<-chan prepared
	stop  func() // ends it and waits until nothing is under way
}

// prepared is a role with what was learned of it, or why it could not be prepared.
type prepared struct {
	role release.Role
	err  error
}

// startPreparing begins to prepare roles, each within the time limit of a rollout. Its
// stop must be called.
func (e Engine) startPreparing(ctx context.Context, roles []release.Role) preparation {
	ctx, cancel := context.WithCancel(ctx)
	var p preparation
	var all sync.WaitGroup
	for _, role := range roles {
		done := make(chan prepared, 1)
		p.roles = append(p.roles, done)
		all.Go(func() {
			ctx, cancel := e.limited(ctx)
			defer cancel()
			role, err := e.prepareRole(ctx, role)
			done <- prepared{role, causeOf(ctx, err)}
		})
	}
	p.stop = func() { cancel(); all.Wait() }
	return p
}

// putBack makes a role run again as an earlier release has it, once it is prepared, within
// the time limit of a rollout.
func (e Engine) putBack(ctx context.Context, step Step, ready <-chan prepared) error {
	ahead := <-ready
	if ahead.err != nil {
		return ahead.err
	}
	ctx, cancel := e.limited(ctx)
	defer cancel()
	t, err := e.target(step.Role)
	if err != nil {
		return err
	}
	step.Role = ahead.role
	_, err = t.Switch(ctx, step)
	return causeOf(ctx, err)
}
