package compare

import (
	"bytes"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// What a policy does about the fields of a manager.
const (
	Force = "force" // take the fields over
	Cede  = "cede"  // leave the fields alone
)

// Policy says which fields are taken over from other managers and which are left.
type Policy struct {
	Managers map[string]string // field manager → Force or Cede
	Force    bool              // take over every field in conflict
}

// manager is another field manager of an object, with the fields that it owns.
type manager struct {
	name        string
	subresource string
	operation   metav1.ManagedFieldsOperationType
	apiVersion  string
	index       int // of its entry
	fields      *fieldpath.Set
}

// isOwn reports whether the fields are those that shipit has applied.
func (m manager) isOwn() bool {
	return m.name == object.Manager && m.operation == metav1.ManagedFieldsOperationApply
}

// managersOf are those of a live object, without those that write its status only.
func managersOf(live *unstructured.Unstructured) []manager {
	var out []manager
	for i, e := range object.ManagedFields(live) {
		if e.FieldsV1 == nil || e.Subresource == "status" {
			continue
		}
		var set fieldpath.Set
		if set.FromJSON(bytes.NewReader(e.FieldsV1.Raw)) == nil {
			out = append(out, manager{name: e.Manager, subresource: e.Subresource, operation: e.Operation, apiVersion: e.APIVersion, index: i, fields: &set})
		}
	}
	return out
}

// otherManagers are those of a live object besides shipit, without those that
// write its status only.
func otherManagers(live *unstructured.Unstructured) []manager {
	return slices.DeleteFunc(managersOf(live), manager.isOwn)
}

// IsAutoscaler reports whether a manager owns replicas as an autoscaler does: by
// the scale subresource, and not by kubectl, which a person runs.
func IsAutoscaler(manager, subresource string) bool {
	return subresource == "scale" && !strings.HasPrefix(manager, "kubectl")
}

// CedeFields removes from want the fields that a live object's autoscaler, or a
// manager that the policy cedes to, owns with another value. So an object with such
// fields counts as unchanged, and Policy.Force does not take them over. It reports
// whether any field was removed.
func CedeFields(want map[string]any, live *unstructured.Unstructured, p Policy) (ceded bool) {
	if live == nil {
		return false
	}
	replicas := fieldpath.MakePathOrDie("spec", "replicas")
	for _, m := range otherManagers(live) {
		if IsAutoscaler(m.name, m.subresource) && m.fields.Has(replicas) {
			remove(want, replicas)
			ceded = true
		}
		if p.Managers[m.name] != Cede {
			continue
		}
		leaves(m.fields, func(path fieldpath.Path) {
			ours, set := lookup(want, path)
			theirs, exists := lookup(live.Object, path)
			if set && exists && !Covers(ours, theirs) {
				remove(want, path)
				ceded = true
			}
		})
	}
	return ceded
}

// ReplicasGivenUp is how many replicas a live object has that shipit alone owns and
// that want does not state any more: once want is applied, the server puts its default
// in their place. nil: there are none such.
func ReplicasGivenUp(want map[string]any, live *unstructured.Unstructured) any {
	if live == nil {
		return nil
	}
	replicas, own := fieldpath.MakePathOrDie("spec", "replicas"), false
	for _, m := range managersOf(live) {
		if !m.fields.Has(replicas) {
			continue
		}
		if !m.isOwn() {
			return nil
		}
		own = true
	}
	if _, stated := lookup(want, replicas); stated || !own {
		return nil
	}
	n, _ := lookup(live.Object, replicas)
	return n
}

// Unchanged reports whether a live object holds everything that a rendered one
// does, apart from the fields that the policy cedes, and nothing that another hand
// has added to it.
func Unchanged(o *object.Object, live *unstructured.Unstructured, p Policy) bool {
	want := o.Body.Object
	if !Covers(want, live.Object) {
		want = o.Body.DeepCopy().Object
		if !CedeFields(want, live, p) || !Covers(want, live.Object) {
			return false
		}
	}
	return ByHand(want, live, p).Empty()
}
