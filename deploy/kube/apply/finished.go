package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// finishedAnnotation of a set's parent says which Jobs have finished, by namespace/name
// with the hash of their specification. A Job with ttlSecondsAfterFinished is deleted
// by the cluster, and nothing else tells that it has run.
const finishedAnnotation = "shipit.dev/finished"

// finished are the Jobs that have finished.
type finished map[string]string

func finishedIn(parent *unstructured.Unstructured) finished {
	jobs := finished{}
	if parent != nil {
		// What cannot be read says nothing: the Job runs again.
		_ = json.Unmarshal([]byte(parent.GetAnnotations()[finishedAnnotation]), &jobs)
	}
	return jobs
}

func (f finished) has(o *object.Object) bool {
	return vanishes(o) && f[jobKey(o)] == specHash(o)
}

// of are those among f that are objects of the role as it is.
func (f finished) of(objects []*object.Object) finished {
	out := finished{}
	for _, o := range objects {
		if f.has(o) {
			out[jobKey(o)] = specHash(o)
		}
	}
	return out
}

// allFinished are the Jobs among objects that are all ready.
func allFinished(results []Result) finished {
	out := finished{}
	for _, r := range results {
		if vanishes(r.Object) {
			out[jobKey(r.Object)] = specHash(r.Object)
		}
	}
	return out
}

// text is the annotation's value; empty if there is nothing to say.
func (f finished) text() string {
	if len(f) == 0 {
		return ""
	}
	data, err := json.Marshal(f)
	if err != nil {
		return ""
	}
	return string(data)
}

// vanishes reports whether the cluster deletes an object when it has finished.
func vanishes(o *object.Object) bool {
	_, ttl, _ := unstructured.NestedFieldNoCopy(o.Body.Object, "spec", "ttlSecondsAfterFinished")
	return o.ID.Group == "batch" && o.ID.Kind == "Job" && ttl
}

func jobKey(o *object.Object) string { return o.ID.Namespace + "/" + o.ID.Name }

func specHash(o *object.Object) string {
	data, err := json.Marshal(o.Body.Object["spec"])
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// jobCompleted reports whether an object is a Job that has finished and was deleted for it,
// or is about to be.
func (s State) jobCompleted(o *object.Object) bool {
	live := s.Live(o.ID)
	return (live == nil || live.GetDeletionTimestamp() != nil) && s.Inventory.extent.finished.has(o)
}
