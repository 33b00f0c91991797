package apply

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// The labels and annotations of an ApplySet's parent, by KEP-3659.
const (
	idLabel              = "applyset.kubernetes.io/id"
	toolingAnnotation    = "applyset.kubernetes.io/tooling"
	kindsAnnotation      = "applyset.kubernetes.io/contains-group-kinds"
	namespacesAnnotation = "applyset.kubernetes.io/additional-namespaces"
	tooling              = "shipit/v1"
)

// Set is the ApplySet of one role of one app: everything that the role has in the
// cluster. Its parent is a ConfigMap that names the kinds and namespaces of the
// members.
type Set struct {
	App, Role string
	Parent    object.ID
	ID        string // value of the label by which members are found
}

// SetOf is the ApplySet of a role. Its parent is in that namespace, by default in
// that of the role's first object which has one.
func SetOf(app, role, namespace string, objects []*object.Object) Set {
	for _, o := range objects {
		if namespace == "" {
			namespace = o.ID.Namespace
		}
	}
	if namespace == "" {
		namespace = "default"
	}
	s := Set{App: app, Role: role, Parent: object.ID{Kind: "ConfigMap", Namespace: namespace, Name: "shipit-" + app + "-" + role}}
	sum := sha256.Sum256([]byte(s.Parent.Name + "." + s.Parent.Namespace + "." + s.Parent.Kind + "." + s.Parent.Group))
	s.ID = "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
	return s
}

// Selector is the label selector that selects the members.
func (s Set) Selector() string { return object.PartOfLabel + "=" + s.ID }

// Unchanged reports whether an apply of the object would change nothing: it is
// live, a member, not about to be deleted, and holds what it would be sent with. A
// Job that failed has to run again.
func (s Set) Unchanged(o *object.Object, live *unstructured.Unstructured, p compare.Policy) bool {
	return live != nil && live.GetDeletionTimestamp() == nil && !object.FailedJob(live) &&
		live.GetAnnotations()[object.AppliedAnnotation] == o.Hash && live.GetLabels()[object.PartOfLabel] == s.ID &&
		compare.Unchanged(o, live, p)
}

// body is the object as it is sent: with the label of a member, and the hash by
// which the next run finds it unchanged.
func (s Set) body(o *object.Object) map[string]any {
	u := o.Body.DeepCopy()
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[object.PartOfLabel], annotations[object.AppliedAnnotation] = s.ID, o.Hash
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
	return u.Object
}

// extent is where the members of a set are.
type extent struct {
	kinds      map[schema.GroupKind]bool
	namespaces map[string]bool // without the empty one
}

func newExtent() extent {
	return extent{kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{}}
}

func extentOf(objects []*object.Object) extent {
	e := newExtent()
	for _, o := range objects {
		e.kinds[o.Kind.GroupKind] = true
		if o.ID.Namespace != "" {
			e.namespaces[o.ID.Namespace] = true
		}
	}
	return e
}

func (e extent) with(other extent) extent {
	sum := newExtent()
	for _, part := range []extent{e, other} {
		for k := range part.kinds {
			sum.kinds[k] = true
		}
		for n := range part.namespaces {
			sum.namespaces[n] = true
		}
	}
	return sum
}

// annotations are the extent as a parent in that namespace keeps it.
func (e extent) annotations(namespace string) map[string]string {
	kinds := make([]string, 0, len(e.kinds))
	for k := range e.kinds {
		kinds = append(kinds, k.String())
	}
	namespaces := make([]string, 0, len(e.namespaces))
	for n := range e.namespaces {
		if n != namespace {
			namespaces = append(namespaces, n)
		}
	}
	sort.Strings(kinds)
	sort.Strings(namespaces)
	return map[string]string{kindsAnnotation: strings.Join(kinds, ","), namespacesAnnotation: strings.Join(namespaces, ","), toolingAnnotation: tooling}
}

// recordedExtent reads the extent off a parent; a nil parent has none.
func recordedExtent(parent *unstructured.Unstructured) extent {
	e := newExtent()
	if parent == nil {
		return e
	}
	annotations := parent.GetAnnotations()
	for _, k := range split(annotations[kindsAnnotation]) {
		e.kinds[schema.ParseGroupKind(k)] = true
	}
	for _, n := range append(split(annotations[namespacesAnnotation]), parent.GetNamespace()) {
		e.namespaces[n] = true
	}
	return e
}

func split(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(x string) bool { return strings.TrimSpace(x) == "" })
}
