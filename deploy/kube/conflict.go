package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Conflict is a field that another manager owns.
type Conflict struct {
	Owner string
	Field string // .spec.replicas, as the server writes it
}

// ConflictError says which fields of an object are owned by others.
type ConflictError struct {
	Object    ID
	Conflicts []Conflict
}

func (e *ConflictError) Error() string {
	byOwner := map[string][]string{}
	for _, c := range e.Conflicts {
		byOwner[c.Owner] = append(byOwner[c.Owner], c.Field)
	}
	owners := make([]string, 0, len(byOwner))
	for o := range byOwner {
		owners = append(owners, o)
	}
	sort.Strings(owners)
	parts := make([]string, 0, len(owners))
	for _, o := range owners {
		parts = append(parts, fmt.Sprintf("%s is owned by %q", strings.Join(byOwner[o], ", "), o))
	}
	return e.Object.String() + ": " + strings.Join(parts, "; ")
}

// Hint says what to do.
func (e *ConflictError) Hint() string {
	owner := "OWNER"
	if len(e.Conflicts) > 0 {
		owner = e.Conflicts[0].Owner
	}
	return fmt.Sprintf("under the role's kubernetes.conflicts set %q to force (take the field) or cede (leave it), or allow FieldConflict once", owner)
}

const (
	force = "force"
	cede  = "cede"
)

var conflictOwner = regexp.MustCompile(`^conflict with "([^"]+)"(?: with subresource "([^"]+)")?`)

// apply sends an object, settling field conflicts by policy.
func (c *Cluster) apply(ctx context.Context, o *object, body map[string]any, p patchOptions, policy policy) (answer, error) {
	p.force = policy.force
	for {
		got, err := c.patch(ctx, o, body, p)
		found := conflictsOf(err)
		if len(found) == 0 {
			return got, err
		}
		var open []Conflict
		for _, f := range found {
			switch {
			case policy.owners[f.Owner] == force:
				p.force = true
			case f.replicasOfAutoscaler() || policy.owners[f.Owner] == cede:
				if !dropField(body, f.Field) {
					open = append(open, f.Conflict)
				}
			case strings.HasSuffix(f.Field, ".image"):
				// The image is what a release is about: it is taken back from whoever set it by hand.
				p.force = true
			default:
				open = append(open, f.Conflict)
			}
		}
		if len(open) > 0 {
			return answer{}, &ConflictError{Object: o.id, Conflicts: open}
		}
	}
}

// policy says whose fields are taken and whose are left.
type policy struct {
	owners map[string]string
	force  bool
}

// serverConflict is one cause of the server's 409.
type serverConflict struct {
	Conflict
	subresource string
}

func (s serverConflict) replicasOfAutoscaler() bool {
	return s.Field == ".spec.replicas" && owner{manager: s.Owner, subresource: s.subresource}.autoscaler()
}

func conflictsOf(err error) []serverConflict {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []serverConflict
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		s := serverConflict{Conflict: Conflict{Owner: cause.Message, Field: cause.Field}}
		if m := conflictOwner.FindStringSubmatch(cause.Message); m != nil {
			s.Owner, s.subresource = m[1], m[2]
		}
		out = append(out, s)
	}
	return out
}

// dropField removes the field that the server's path text names.
func dropField(body map[string]any, field string) bool {
	var target fieldpath.Path
	walk(body, nil, func(p fieldpath.Path) bool {
		if p.String() == field {
			target = p.Copy()
			return false
		}
		return true
	})
	if target == nil {
		return false
	}
	drop(body, target)
	return true
}

// cedeBeforehand removes from want the fields that a live object's autoscaler or
// a manager with the policy "cede" holds with another value, so that an object
// with such fields can be unchanged, and no force takes them. It reports whether any was removed.
func cedeBeforehand(want map[string]any, live *unstructured.Unstructured, p policy) (ceded bool) {
	if live == nil {
		return false
	}
	replicas := fieldpath.MakePathOrDie("spec", "replicas")
	for _, o := range others(live) {
		if o.autoscaler() && o.fields.Has(replicas) {
			drop(want, replicas)
			ceded = true
		}
		if p.owners[o.manager] != cede {
			continue
		}
		leaves(o.fields, func(path fieldpath.Path) {
			ours, said := lookup(want, path)
			theirs, there := lookup(live.Object, path)
			if said && there && !covers(ours, theirs) {
				drop(want, path)
				ceded = true
			}
		})
	}
	return ceded
}
