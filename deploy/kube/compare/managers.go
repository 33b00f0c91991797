package compare

import (
	"bytes"
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

// manager is another field manager of an object, with the fields that it holds.
type manager struct {
	name        string
	subresource string
	fields      *fieldpath.Set
}

// otherManagers are those of a live object besides shipit, without those that
// write its status only.
func otherManagers(live *unstructured.Unstructured) []manager {
	var out []manager
	for _, m := range live.GetManagedFields() {
		if m.Manager == object.Manager && m.Operation == metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil || m.Subresource == "status" {
			continue
		}
		var set fieldpath.Set
		if set.FromJSON(bytes.NewReader(m.FieldsV1.Raw)) == nil {
			out = append(out, manager{name: m.Manager, subresource: m.Subresource, fields: &set})
		}
	}
	return out
}

// IsAutoscaler reports whether a manager holds replicas as an autoscaler does: by
// the scale subresource, and not by kubectl, which a person runs.
func IsAutoscaler(manager, subresource string) bool {
	return subresource == "scale" && !strings.HasPrefix(manager, "kubectl")
}

// CedeFields removes from want the fields that a live object's autoscaler, or a
// manager that the policy cedes to, holds with another value. So an object with such
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

// Unchanged reports whether a live object holds everything that a rendered one
// does, apart from the fields that the policy cedes.
func Unchanged(o *object.Object, live *unstructured.Unstructured, p Policy) bool {
	if Covers(o.Body.Object, live.Object) {
		return true
	}
	want := o.Body.DeepCopy().Object
	return CedeFields(want, live, p) && Covers(want, live.Object)
}
