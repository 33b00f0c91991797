package apply

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
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

	// before is the set as earlier versions of shipit named it. The role api-worker
	// of an app web and the role worker of an app web-api had one name then, and so had
	// a role 000001 and the first record.
	before former
}

// former is a parent and an id that a set had.
type former struct {
	parent object.ID
	id     string
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
	parent := func(name string) object.ID { return object.ID{Kind: "ConfigMap", Namespace: namespace, Name: name} }
	s := Set{App: app, Role: role, Parent: parent("shipit-" + app + "." + role), before: former{parent: parent("shipit-" + app + "-" + role)}}
	s.ID, s.before.id = idOf(s.Parent), idOf(s.before.parent)
	return s
}

// idOf is the id of a set by its parent, as KEP-3659 defines it.
func idOf(parent object.ID) string {
	sum := sha256.Sum256([]byte(parent.Name + "." + parent.Namespace + "." + parent.Kind + "." + parent.Group))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// ParentNamespace is the namespace of the parent of a role's ApplySet. The objects of a record
// name their set by a label, so that it is known whether or not the configuration has
// the role; configured, which may be empty, is for objects that name none of theirs.
func ParentNamespace(app string, role release.Role, configured string) (string, error) {
	var candidates, sets []string
	inSet := func(namespace string) bool {
		s := SetOf(app, role.Name, namespace, nil)
		return slices.Contains(sets, s.ID) || slices.Contains(sets, s.before.id)
	}
	if configured != "" {
		candidates = append(candidates, configured)
	}
	for i, raw := range role.Objects {
		ns, set, err := namespaceAndSet(raw)
		if err != nil {
			return "", fmt.Errorf("role %s: object %d: %w", role.Name, i+1, err)
		}
		if ns != "" && !slices.Contains(candidates, ns) {
			candidates = append(candidates, ns)
		}
		if set != "" && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
		if configured != "" && inSet(configured) {
			return configured, nil // and the others need not be read
		}
	}
	for _, candidate := range candidates {
		if inSet(candidate) {
			return candidate, nil
		}
	}
	return append(candidates, "default")[0], nil
}

// namespaceAndSet reads of a rendered object its namespace and the set that its label
// names, and no more: a release may have thousands of objects.
func namespaceAndSet(raw []byte) (namespace, set string, err error) {
	var o struct {
		Metadata struct {
			Namespace any            `json:"namespace"` // what is no text is refused where the whole is read
			Labels    map[string]any `json:"labels"`
		} `json:"metadata"`
	}
	err = json.Unmarshal(raw, &o)
	namespace, _ = o.Metadata.Namespace.(string)
	set, _ = o.Metadata.Labels[object.PartOfLabel].(string)
	return namespace, set, err
}

// Selector is the label selector that selects the members.
func (s Set) Selector() string { return object.PartOfLabel + " in (" + s.ID + "," + s.before.id + ")" }

// has reports whether a live object is a member: its label names the set, and it is no
// other app's or role's that had the same name once.
func (s Set) has(u *unstructured.Unstructured) bool { return s.hasLabels(u.GetLabels()) }

func (s Set) hasLabels(labels map[string]string) bool {
	if labels[object.PartOfLabel] == s.before.id {
		return cmp.Or(labels[object.AppLabel], s.App) == s.App && cmp.Or(labels[object.RoleLabel], s.Role) == s.Role
	}
	return labels[object.PartOfLabel] == s.ID
}

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
	finished   finished
}

func newExtent() extent {
	return extent{kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{}, finished: finished{}}
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
		maps.Copy(sum.finished, part.finished)
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
	out := map[string]string{kindsAnnotation: strings.Join(kinds, ","), namespacesAnnotation: strings.Join(namespaces, ","), toolingAnnotation: tooling}
	if text := e.finished.text(); text != "" {
		out[finishedAnnotation] = text
	}
	return out
}

// recordedExtent reads the extent off a parent; a nil parent has none.
func recordedExtent(parent *unstructured.Unstructured) extent {
	e := newExtent()
	if parent == nil {
		return e
	}
	e.finished = finishedIn(parent)
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
