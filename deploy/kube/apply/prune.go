package apply

import (
	"context"
	"fmt"
	"maps"
	"sort"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// keptKinds hold what cannot be created again. They leave the set, and stay.
var keptKinds = map[string]bool{
	"Namespace": true, "CustomResourceDefinition": true, "PersistentVolumeClaim": true, "PersistentVolume": true,
}

// isKept reports whether a member of a set with this parent holds what cannot be created
// again: by its kind, or because it is a Secret that was there before shipit took it over,
// whose values are stored nowhere.
func isKept(id object.ID, live, parent *unstructured.Unstructured) bool {
	if keptKinds[id.Kind] || parent == nil {
		return keptKinds[id.Kind]
	}
	made, took := live.GetCreationTimestamp(), parent.GetCreationTimestamp()
	return id.Group == "" && id.Kind == "Secret" && made.Before(&took)
}

// Obsolete are the members that are not among the role's objects any more, without
// those that are never pruned.
func (s State) Obsolete() map[object.ID]Member {
	gone := s.obsolete()
	for id, m := range gone {
		if m.Kept {
			delete(gone, id)
		}
	}
	return gone
}

func (s State) obsolete() map[object.ID]Member {
	wanted := make(map[object.ID]bool, len(s.Objects))
	for _, o := range s.Objects {
		wanted[o.ID] = true
	}
	gone := map[object.ID]Member{}
	for id, m := range s.Inventory.Members {
		if !wanted[id] && m.Live.GetDeletionTimestamp() == nil {
			gone[id] = m
		}
	}
	return gone
}

// obsoleteIn are the members that neither the role nor any other role of its release
// has any more.
func obsoleteIn(c *client.Client, s State, roles []release.Role) (map[object.ID]Member, error) {
	gone := s.obsolete()
	for _, other := range roles {
		if len(gone) == 0 || other.Name == s.Role.Name || other.Target != release.TargetKubernetes {
			continue
		}
		theirs, err := c.Parse(other)
		if err != nil {
			return nil, err
		}
		for _, t := range theirs {
			delete(gone, t.ID)
		}
	}
	return gone, nil
}

// Prune deletes the objects that the role no longer has, and then lets the set's
// parent name only what is left. Objects that cannot be created again are reported,
// and only leave the set. It is called when the new objects are ready, so that what
// serves goes on serving until then.
func Prune(ctx context.Context, c *client.Client, a Applied, p release.Progress) error {
	known := a.extent.finished
	a.extent.finished = allFinished(a.Results)
	if len(a.obsolete) > 0 || a.widened || !maps.Equal(known, a.extent.finished) {
		if err := pruneAll(ctx, c, a.Set, a.obsolete, p); err != nil {
			return err
		}
		if err := writeParent(ctx, c, a.Set, nil, a.extent); err != nil {
			return err
		}
	}
	if a.parent == nil || object.IDOf(a.parent) == a.Set.Parent {
		return nil
	}
	return deleteParent(ctx, c, a.Set, a.parent)
}

// pruneAll prunes the members of a set that are given.
func pruneAll(ctx context.Context, c *client.Client, s Set, members map[object.ID]Member, p release.Progress) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for id, m := range members {
		group.Go(func() error {
			if err := pruneOne(gctx, c, s, prunable{id, m}, p); err != nil {
				return fmt.Errorf("prune %s: %w", id, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// deleteParent deletes a parent that has no members any more.
func deleteParent(ctx context.Context, c *client.Client, s Set, parent *unstructured.Unstructured) error {
	id := object.IDOf(parent)
	if err := c.Delete(ctx, client.ConfigMaps, id, parent.GetUID()); err != nil {
		return fmt.Errorf("delete the ApplySet's parent %s of role %s: %w", id, s.Role, err)
	}
	return nil
}

type prunable struct {
	id object.ID
	Member
}

func pruneOne(ctx context.Context, c *client.Client, s Set, o prunable, p release.Progress) error {
	live, err := c.Find(ctx, o.Kind, o.id.Namespace, o.id.Name)
	if err != nil {
		return err
	}
	if live == nil || live.GetUID() != o.Live.GetUID() || !s.has(live) {
		return nil // it is gone already, or another role's by now
	}
	e := release.Event{Phase: release.PhaseApply, Mark: release.MarkStep, Role: s.Role, Message: o.id.String() + " " + string(release.ActionPruned)}
	if o.Kept || o.Live.GetAnnotations()[object.PruneAnnotation] == "false" {
		e.Mark, e.Message = release.MarkNote, o.id.String()+" is no longer part of the release and is kept; delete it by hand if nothing needs it"
		err = c.RemoveLabel(ctx, o.Kind, o.id, live.GetUID(), object.PartOfLabel)
	} else {
		err = c.Delete(ctx, o.Kind, o.id, live.GetUID())
	}
	if err == nil {
		p.Report(e)
	}
	return err
}

// sortedIDs are the ids of members in a stable order.
func sortedIDs(members map[object.ID]Member) []object.ID {
	ids := make([]object.ID, 0, len(members))
	for id := range members {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].String() < ids[j].String() })
	return ids
}
