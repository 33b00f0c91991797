package apply

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/internal/pattern"
)

// conflict is a field that another manager owns.
type conflict struct {
	Manager string
	Field   string // .spec.replicas, as the server writes it
}

// ConflictError says which fields of an object other managers own.
type ConflictError struct {
	Object    object.ID
	Conflicts []conflict
}

func (e *ConflictError) Error() string {
	byManager := map[string][]string{}
	for _, c := range e.Conflicts {
		byManager[c.Manager] = append(byManager[c.Manager], c.Field)
	}
	managers := make([]string, 0, len(byManager))
	for m := range byManager {
		managers = append(managers, m)
	}
	sort.Strings(managers)
	parts := make([]string, 0, len(managers))
	for _, m := range managers {
		parts = append(parts, fmt.Sprintf("%s is owned by %q", strings.Join(byManager[m], ", "), m))
	}
	return e.Object.String() + ": " + strings.Join(parts, "; ")
}

// Hint says what to do.
func (e *ConflictError) Hint() string {
	manager := "MANAGER"
	if len(e.Conflicts) > 0 {
		manager = e.Conflicts[0].Manager
	}
	return fmt.Sprintf("under the role's kubernetes.conflicts set %q to force (take the field) or cede (leave it), or allow FieldConflict once", manager)
}

// request is one object to be sent.
type request struct {
	object *object.Object
	body   map[string]any
	how    client.ApplyOptions
}

// ownDeadline is set by shipit where the manifest does not, so that it is nothing to
// refuse a release for.
const ownDeadline = ".spec.progressDeadlineSeconds"

// send sends an object, and again without the fields, or with the force, that the
// policy decides on when the server reports conflicts. Fields that people own are
// taken over.
func send(ctx context.Context, c *client.Client, r request, p compare.Policy) (client.Applied, error) {
	r.how.Force = p.Force
	for {
		got, err := c.Apply(ctx, r.object, r.body, r.how)
		found := conflictsOf(err)
		if len(found) == 0 {
			return got, err
		}
		var undecided []conflict
		for _, f := range found {
			switch {
			case p.Managers[f.Manager] == compare.Force:
				r.how.Force = true
			case f.replicasOfAutoscaler() || p.Managers[f.Manager] == compare.Cede:
				if !compare.RemoveField(r.body, f.Field) {
					undecided = append(undecided, f.conflict)
				}
			case f.Field == ".metadata.labels."+object.PartOfLabel, f.Field == ".metadata.labels."+object.ManagedByLabel:
				// The preflight has decided whose the object is.
				r.how.Force = true
			case compare.IsHand(f.Manager), f.Manager == object.HandoverManager, strings.HasSuffix(f.Field, ".image"):
				// The release wins over what people change, and states again what it had handed over. The image is what
				// it is about: it is taken back from anyone.
				r.how.Force = true
			case f.Field == ownDeadline && compare.RemoveField(r.body, f.Field):
			default:
				undecided = append(undecided, f.conflict)
			}
		}
		if len(undecided) > 0 {
			return client.Applied{}, &ConflictError{Object: r.object.ID, Conflicts: undecided}
		}
	}
}

// serverConflict is one cause of the server's 409.
type serverConflict struct {
	conflict
	subresource string
}

func (s serverConflict) replicasOfAutoscaler() bool {
	return s.Field == ".spec.replicas" && compare.IsAutoscaler(s.Manager, s.subresource)
}

// conflictWording is how the server names the manager in a conflict.
var conflictWording = pattern.Lazy(`^conflict with "([^"]+)"(?: with subresource "([^"]+)")?`)

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
		s := serverConflict{conflict: conflict{Manager: cause.Message, Field: cause.Field}}
		if m := conflictWording().FindStringSubmatch(cause.Message); m != nil {
			s.Manager, s.subresource = m[1], m[2]
		}
		out = append(out, s)
	}
	return out
}
