package compare

import (
	"bytes"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/release"
)

// Patches finds by which entries of their managed fields pods were changed by a person.
// What pods have alike is read once: a release may have thousands. The zero value works;
// it is for one goroutine.
type Patches struct {
	read map[string]bool // by the text of the fields of a specification: whether they are a person's change
}

// Of are the entries of a pod's managed fields by which a person has changed what the
// pod runs; nil if nobody has. Whoever has made the pod is not meant.
func (p *Patches) Of(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, e := range entries {
		if IsHand(e.Manager) && (e.Subresource == "" || e.Subresource == "resize") && e.FieldsV1 != nil && p.patches(e) {
			out = append(out, e)
		}
	}
	return out
}

// patches reports whether an entry has fields by which a person has changed a pod.
func (p *Patches) patches(e metav1.ManagedFieldsEntry) bool {
	at := bytes.Index(e.FieldsV1.Raw, []byte(`"f:spec"`))
	if at < 0 {
		return false
	}
	spec := e.FieldsV1.Raw[at:] // before it are the metadata, which differ from controller to controller
	found, known := p.read[string(spec)]
	if !known {
		if p.read == nil {
			p.read = map[string]bool{}
		}
		found = len(patchedFields(e)) > 0
		p.read[string(spec)] = found
	}
	return found
}

// patchedFields are the fields of the specification that an entry has; none if it
// has the name of a container, which only the pod's maker can.
func patchedFields(e metav1.ManagedFieldsEntry) []fieldpath.Path {
	var set fieldpath.Set
	if set.FromJSON(bytes.NewReader(e.FieldsV1.Raw)) != nil {
		return nil
	}
	var out []fieldpath.Path
	made := false
	leaves(&set, func(path fieldpath.Path) {
		made = made || field(path, 1) == "containers" && isKey(path)
		if field(path, 0) == "spec" {
			out = append(out, path)
		}
	})
	if made {
		return nil
	}
	return out
}

// PatchedFields are those that entries have changed in a pod, whose template says
// otherwise.
func PatchedFields(entries []metav1.ManagedFieldsEntry, pod, template map[string]any) []release.FieldChange {
	var fields []release.FieldChange
	for _, e := range entries {
		for _, path := range patchedFields(e) {
			change := release.FieldChange{Path: readable(path)}
			if have, ok := lookup(pod, path); ok {
				change.Live = shown(have)
			}
			if want, ok := lookup(template, path); ok {
				change.Wanted = shown(want)
			}
			fields = append(fields, change)
		}
	}
	return fields
}
