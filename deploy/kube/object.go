package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/release"
)

const (
	appliedAnnotation = "shipit.dev/applied" // hash of the object as it was rendered
	keepAnnotation    = "shipit.dev/prune"   // "false": never pruned
	partOfLabel       = "applyset.kubernetes.io/part-of"
)

// ID names one object.
type ID struct {
	Group, Kind, Namespace, Name string
}

// String is how people name the object: Deployment joelclaw/worker.
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Kind + " " + id.Name
	}
	return id.Kind + " " + id.Namespace + "/" + id.Name
}

// object is one rendered object with its place in the API.
type object struct {
	id   ID
	kind kind
	hash string
	body *unstructured.Unstructured
}

func idOf(u *unstructured.Unstructured) ID {
	gvk := u.GroupVersionKind()
	return ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// parsed are the rendered objects of a role, each with its resource.
func (c *Cluster) parsed(role release.Role) ([]*object, error) {
	objects, err := parse(role)
	if err != nil {
		return nil, err
	}
	return objects, c.resolve(objects)
}

// parse reads the rendered objects of a role without touching the network.
func parse(role release.Role) ([]*object, error) {
	objects := make([]*object, 0, len(role.Objects))
	seen := map[ID]bool{}
	for i, raw := range role.Objects {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw, &u.Object); err != nil {
			return nil, fmt.Errorf("role %s: object %d: %w", role.Name, i+1, err)
		}
		if u.GetAPIVersion() == "" || u.GetKind() == "" || u.GetName() == "" {
			return nil, fmt.Errorf("role %s: object %d: apiVersion, kind or metadata.name is missing", role.Name, i+1)
		}
		id := idOf(u)
		if seen[id] {
			return nil, fmt.Errorf("role %s: %s stands twice", role.Name, id)
		}
		seen[id] = true
		objects = append(objects, &object{id: id, body: u, hash: hashOf(raw)})
	}
	return objects, nil
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// resolve finds the resource of every object, asking the server only for kinds
// that are neither well known nor defined by the objects themselves.
func (c *Cluster) resolve(objects []*object) error {
	for _, o := range objects {
		c.kinds.learn(o.body)
	}
	for _, o := range objects {
		k, err := c.kinds.of(o.body.GroupVersionKind())
		if err != nil {
			return fmt.Errorf("%s: %w", o.id, c.explain(err))
		}
		o.kind = k
		if !k.namespaced {
			o.id.Namespace = ""
			o.body.SetNamespace("")
		} else if o.id.Namespace == "" {
			return fmt.Errorf("%s: has no namespace", o.id)
		}
	}
	return nil
}

// kind is one resource of the API.
type kind struct {
	gvr        schema.GroupVersionResource
	gk         schema.GroupKind
	namespaced bool
	builtin    bool // every cluster has it
}
