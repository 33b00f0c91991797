package kube

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The labels and annotations of an ApplySet, by KEP-3659.
const (
	setIDLabel      = "applyset.kubernetes.io/id"
	setTooling      = "applyset.kubernetes.io/tooling"
	setKinds        = "applyset.kubernetes.io/contains-group-kinds"
	setNamespaces   = "applyset.kubernetes.io/additional-namespaces"
	toolingIdentity = "shipit/v1"
)

// applySet is everything that one role of one app has in the cluster. Its parent
// is a ConfigMap that names the kinds and namespaces in which its members are.
type applySet struct {
	app, role string
	parent    ID
	id        string // the label value by which members are known
}

func newApplySet(app, role, namespace string) applySet {
	s := applySet{app: app, role: role, parent: ID{Kind: "ConfigMap", Namespace: namespace, Name: "shipit-" + app + "-" + role}}
	sum := sha256.Sum256([]byte(s.parent.Name + "." + s.parent.Namespace + "." + s.parent.Kind + "." + s.parent.Group))
	s.id = "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
	return s
}

// extent is where the members of a set are.
type extent struct {
	kinds      map[schema.GroupKind]bool
	namespaces map[string]bool // without the empty one
}

func extentOf(objects []*object) extent {
	e := extent{kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{}}
	for _, o := range objects {
		e.kinds[o.kind.gk] = true
		if o.id.Namespace != "" {
			e.namespaces[o.id.Namespace] = true
		}
	}
	return e
}

func (e extent) with(other extent) extent {
	sum := extent{kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{}}
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

// annotations are the extent as the parent keeps it.
func (e extent) annotations(own string) map[string]string {
	kinds := make([]string, 0, len(e.kinds))
	for k := range e.kinds {
		kinds = append(kinds, k.String())
	}
	namespaces := make([]string, 0, len(e.namespaces))
	for n := range e.namespaces {
		if n != own {
			namespaces = append(namespaces, n)
		}
	}
	sort.Strings(kinds)
	sort.Strings(namespaces)
	return map[string]string{setKinds: strings.Join(kinds, ","), setNamespaces: strings.Join(namespaces, ","), setTooling: toolingIdentity}
}

// recorded reads the extent off a parent.
func recorded(parent *unstructured.Unstructured) extent {
	e := extent{kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{}}
	if parent == nil {
		return e
	}
	note := parent.GetAnnotations()
	for _, k := range split(note[setKinds]) {
		e.kinds[schema.ParseGroupKind(k)] = true
	}
	for _, n := range append(split(note[setNamespaces]), parent.GetNamespace()) {
		e.namespaces[n] = true
	}
	return e
}

func split(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(x string) bool { return strings.TrimSpace(x) == "" })
}

// member is an object of the set as it was found.
type member struct {
	kind kind
	live *unstructured.Unstructured
}

// inventory is the set as it was before an apply.
type inventory struct {
	parent  *unstructured.Unstructured // nil: there is none yet
	extent  extent
	members map[ID]member
}

// shelf is one list request: a kind in a namespace.
type shelf struct {
	kind      kind
	namespace string
}

// take reads the parent, and at the same time the members in every kind and
// namespace that the objects have; then those that only the parent names.
func (c *Cluster) take(ctx context.Context, s applySet, objects []*object) (inventory, error) {
	inv := inventory{members: map[ID]member{}}
	wanted := map[shelf]bool{}
	for _, o := range objects {
		wanted[shelf{o.kind, o.id.Namespace}] = true
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel) // before the first Go: one that runs already would never be counted out
	group.Go(func() error {
		configMap, err := c.kinds.of(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
		if err != nil {
			return err
		}
		parent, err := c.fetch(gctx, configMap, s.parent.Namespace, s.parent.Name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		inv.parent = parent
		return err
	})
	var mu sync.Mutex
	c.read(gctx, group, &mu, s, wanted, inv.members)
	if err := group.Wait(); err != nil {
		return inventory{}, err
	}
	inv.extent = recorded(inv.parent)
	rest, err := c.unlisted(inv.extent, wanted)
	if err != nil {
		return inventory{}, err
	}
	group, gctx = errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	c.read(gctx, group, &mu, s, rest, inv.members)
	return inv, group.Wait()
}

// unlisted are the shelves of an extent that have not been read yet.
func (c *Cluster) unlisted(e extent, done map[shelf]bool) (map[shelf]bool, error) {
	rest := map[shelf]bool{}
	for gk := range e.kinds {
		k, known, err := c.listedAs(gk, done)
		if err != nil {
			return nil, fmt.Errorf("find the kind %s: %w", gk, c.explain(err))
		}
		if !known {
			continue // its definition is gone, and its objects with it
		}
		places := e.namespaces
		if !k.namespaced {
			places = map[string]bool{"": true}
		}
		for n := range places {
			if !done[shelf{k, n}] {
				rest[shelf{k, n}] = true
			}
		}
	}
	return rest, nil
}

// listedAs prefers the version in which the objects themselves are written.
func (c *Cluster) listedAs(gk schema.GroupKind, done map[shelf]bool) (kind, bool, error) {
	for s := range done {
		if s.kind.gk == gk {
			return s.kind, true, nil
		}
	}
	return c.kinds.any(gk)
}

func (c *Cluster) read(ctx context.Context, group *errgroup.Group, mu *sync.Mutex, s applySet, shelves map[shelf]bool, into map[ID]member) {
	for sh := range shelves {
		group.Go(func() error {
			items, err := c.list(ctx, sh.kind, sh.namespace, partOfLabel+"="+s.id)
			if apierrors.IsNotFound(err) {
				return nil // the kind is defined by this very release
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", sh.kind.gvr.Resource, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range items {
				u := &items[i]
				id := ID{Group: sh.kind.gk.Group, Kind: sh.kind.gk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
				into[id] = member{kind: sh.kind, live: u}
			}
			return nil
		})
	}
}

// writeParent records where members are or will be. Nothing is written if the
// parent says so already.
func (c *Cluster) writeParent(ctx context.Context, s applySet, parent *unstructured.Unstructured, e extent) error {
	want := e.annotations(s.parent.Namespace)
	if parent != nil && covers(anyMap(want), anyMap(parent.GetAnnotations())) && parent.GetLabels()[setIDLabel] == s.id {
		return nil
	}
	configMap, err := c.kinds.of(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
	if err != nil {
		return err
	}
	body := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": s.parent.Name, "namespace": s.parent.Namespace, "annotations": anyMap(want),
			"labels": map[string]any{setIDLabel: s.id, "shipit.dev/app": s.app, "shipit.dev/role": s.role, "app.kubernetes.io/managed-by": Manager},
		},
	}
	if _, err := c.patch(ctx, &object{id: s.parent, kind: configMap}, body, patchOptions{force: true}); err != nil {
		return fmt.Errorf("apply the set's parent %s: %w", s.parent, err)
	}
	return nil
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// claim is the object as it is sent: with the set's label and the hash by which
// the next run finds it unchanged.
func (s applySet) claim(o *object) map[string]any {
	u := o.body.DeepCopy()
	labels, notes := u.GetLabels(), u.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if notes == nil {
		notes = map[string]string{}
	}
	labels[partOfLabel], notes[appliedAnnotation] = s.id, o.hash
	u.SetLabels(labels)
	u.SetAnnotations(notes)
	return u.Object
}
