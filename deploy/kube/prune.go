package kube

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/release"
)

// keptKinds hold what cannot be made again. They leave the set, and stay.
var keptKinds = map[string]bool{
	"Namespace": true, "CustomResourceDefinition": true, "PersistentVolumeClaim": true, "PersistentVolume": true,
}

// obsolete are the members that are not among the objects any more.
func obsolete(inv inventory, objects []*object) map[ID]member {
	wanted := make(map[ID]bool, len(objects))
	for _, o := range objects {
		wanted[o.id] = true
	}
	gone := map[ID]member{}
	for id, m := range inv.members {
		if !wanted[id] && m.live.GetDeletionTimestamp() == nil {
			gone[id] = m
		}
	}
	return gone
}

// obsolete are the members that the role no longer has, nor any role beside it.
func (c *Cluster) obsolete(role release.Role, inv inventory, objects []*object, o ApplyOptions) (map[ID]member, error) {
	gone := obsolete(inv, objects)
	for _, other := range o.Beside {
		if len(gone) == 0 || other.Name == role.Name || other.Target != release.TargetKubernetes {
			continue
		}
		theirs, err := c.parsed(other)
		if err != nil {
			return nil, err
		}
		for _, t := range theirs {
			delete(gone, t.id)
		}
	}
	return gone, nil
}

// prune deletes what the role no longer has, and then lets the parent name only
// what is left. Objects that cannot be made again are named, and leave the set.
func (c *Cluster) prune(ctx context.Context, a Applied, p release.Progress) error {
	if len(a.obsolete) == 0 && !a.widened {
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for id, m := range a.obsolete {
		group.Go(func() error {
			e := release.Event{Phase: release.PhaseApply, Mark: release.MarkStep, Role: a.set.role, Message: Result{id, Pruned}.String()}
			end := c.remove
			if keptKinds[id.Kind] || m.live.GetAnnotations()[keepAnnotation] == "false" {
				e.Mark, e.Message = release.MarkNote, id.String()+" is no longer part of the release and is kept; delete it by hand if nothing needs it"
				end = c.unlabel
			}
			live, err := c.find(gctx, m.kind, id.Namespace, id.Name)
			if err == nil && (live == nil || live.GetUID() != m.live.GetUID() || live.GetLabels()[partOfLabel] != a.set.id) {
				return nil // it is gone already, or another role's by now
			}
			if err == nil {
				err = end(gctx, m.kind, id, live.GetUID())
			}
			if err != nil {
				return fmt.Errorf("prune %s: %w", id, err)
			}
			p.Report(e)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.writeParent(ctx, a.set, nil, a.extent)
}
