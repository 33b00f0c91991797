package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// Surveyed is what a Preflight found. Apply takes it, so that what was read need
// not be read again.
type Surveyed struct {
	Findings []release.Finding
	parts    []part
	at       time.Time
}

// fresh is how long what a preflight read is good for: after that another hand
// may well have changed it.
const fresh = 5 * time.Second

// Without is what is left when a role's part is no longer needed: it holds all that
// the cluster has of the role.
func (s Surveyed) Without(role string) Surveyed {
	s.parts = slices.DeleteFunc(slices.Clone(s.parts), func(p part) bool { return p.role.Name == role })
	return s
}

// of is what is known of this very role: its objects, parsed, and what the
// cluster has of them. false if nothing is, or nothing that is good still.
func (s Surveyed) of(role release.Role) ([]*object, inventory, bool) {
	if time.Since(s.at) > fresh {
		return nil, inventory{}, false
	}
	for _, p := range s.parts {
		if p.role.Name != role.Name || len(p.role.Objects) != len(role.Objects) || len(role.Objects) == 0 || &p.role.Objects[0] != &role.Objects[0] {
			continue
		}
		inv, err := p.stock()
		return p.objects, inv, err == nil && inv.members != nil
	}
	return nil, inventory{}, false
}

// stock are the role's objects and what the cluster has of them, read now unless a
// Preflight has done so.
func (c *Cluster) stock(ctx context.Context, role release.Role, o ApplyOptions) ([]*object, applySet, inventory, error) {
	objects, inv, known := o.Before.of(role)
	if !known {
		var err error
		if objects, err = c.parsed(role); err != nil {
			return nil, applySet{}, inventory{}, err
		}
	}
	set := newApplySet(o.App, role.Name, homeOf(o.Namespace, objects))
	if known {
		return objects, set, inv, nil
	}
	inv, err := c.take(ctx, set, objects)
	if err != nil {
		err = fmt.Errorf("read what role %s has: %w", role.Name, err)
	}
	return objects, set, inv, err
}
