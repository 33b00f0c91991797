package apply

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Remove takes away the ApplySet of a role of an earlier release: its members, without
// those that one of present has, and its parent. What holds data stays, and is
// reported. A set that is one of present is left: its own role has pruned it. Nothing is
// asked then. It returns whether there was anything to take away.
func Remove(ctx context.Context, c *client.Client, gone RoleSet, present []RoleSet, p release.Progress) (bool, error) {
	wanted := map[object.ID]bool{}
	for _, role := range present {
		if role.Set.ID == gone.Set.ID {
			return false, nil
		}
		for _, id := range role.ids {
			wanted[id] = true
		}
	}
	inventory, err := ReadInventory(ctx, c, gone.Set, nil)
	if err != nil || inventory.parent == nil {
		return false, err // without a parent nothing of it was ever applied, or it is gone already
	}
	for id := range inventory.Members {
		if wanted[id] {
			delete(inventory.Members, id)
		}
	}
	if err := pruneAll(ctx, c, gone.Set, inventory.Members, p); err != nil {
		return false, fmt.Errorf("remove role %s: %w", gone.Set.Role, err)
	}
	return len(inventory.Members) > 0, deleteParent(ctx, c, gone.Set, inventory.parent)
}

// RoleSet is a role with its ApplySet, as its record tells, without asking a cluster.
type RoleSet struct {
	Set Set
	ids []object.ID
}

// RoleSetOf finds the ApplySet of a role whose parent is in a namespace.
func RoleSetOf(app string, role release.Role, namespace string) (RoleSet, error) {
	objects, err := object.Parse(role)
	if err != nil {
		return RoleSet{}, err
	}
	out := RoleSet{Set: SetOf(app, role.Name, namespace, nil)}
	for _, o := range objects {
		out.ids = append(out.ids, o.ID)
	}
	return out, nil
}

// New reports whether nothing of the role was ever applied, or all was taken away.
func (s State) New() bool { return s.Inventory.parent == nil }

// Present reports whether anything of a role is there that an apply brought and that
// is not kept whatever happens.
func (s State) Present() bool {
	for _, m := range s.Inventory.Members {
		if !m.Kept && m.Live.GetDeletionTimestamp() == nil {
			return true
		}
	}
	return false
}
