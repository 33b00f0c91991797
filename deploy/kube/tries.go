package kube

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/release"
)

// tries is how many objects, and how many pods, the server is asked to try: more
// would make a preflight as dear as the release.
const tries = 10

// objects has the server try those that would change: it says what it would refuse,
// by object and field. Of many it is asked for the workloads and for one of each
// other kind; Diff asks for all.
func (s *survey) objects(ctx context.Context) error {
	if s.o.Tried {
		return nil
	}
	type attempt struct {
		*trial
		object *object
		all    []*object
	}
	var first, rest []attempt
	for _, p := range s.parts {
		inv, err := p.stock()
		if err != nil {
			return err
		}
		if inv.members == nil {
			continue // it could not be read, which is a finding
		}
		t := &trial{c: s.c, role: p.role.Name, set: s.setOf(p), before: inv, policy: s.o.Apply[p.role.Name].policy()}
		seen := map[kind]bool{}
		for _, o := range p.objects {
			switch {
			case t.set.has(o, inv.members[o.id].live, t.policy):
			case rank(o.kind) == rankWorkload || !seen[o.kind]:
				first, seen[o.kind] = append(first, attempt{t, o, p.objects}), true
			default:
				rest = append(rest, attempt{t, o, p.objects})
			}
		}
	}
	if len(first)+len(rest) <= tries {
		first = append(first, rest...)
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, a := range first[:min(len(first), tries)] {
		group.Go(func() error {
			_, findings, err := a.one(gctx, a.object, a.all)
			s.refuse(findings...)
			return err
		})
	}
	return group.Wait()
}

// refuse notes what the server would refuse.
func (s *survey) refuse(findings ...release.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, findings...)
}
