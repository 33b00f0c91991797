// Package object reads Kubernetes objects without asking a cluster: the rendered
// objects of a role, how each is named, and what its specification and status say.
package object

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/release"
)

// What shipit writes into an object's metadata.
const (
	AppliedAnnotation  = "shipit.dev/applied"                // hash of the object as it was rendered
	PruneAnnotation    = "shipit.dev/prune"                  // "false", written by people: never pruned
	PartOfLabel        = "applyset.kubernetes.io/part-of"    // id of the ApplySet that the object is a member of
	AppLabel           = "shipit.dev/app"                    // name of the app
	ManagedByLabel     = "app.kubernetes.io/managed-by"      // Manager
	RoleLabel          = "shipit.dev/role"                   // name of the role
	Manager            = "shipit"                            // the field manager of every write
	HandoverManager    = "shipit-handover"                   // the field manager of replicas that an autoscaler is to take over
	RevisionAnnotation = "deployment.kubernetes.io/revision" // annotation by which a Deployment numbers its ReplicaSets
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

// IDOf names a live object.
func IDOf(u *unstructured.Unstructured) ID {
	gvk := u.GroupVersionKind()
	return ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// Kind is one resource of the API.
type Kind struct {
	GVR        schema.GroupVersionResource
	GroupKind  schema.GroupKind
	Namespaced bool
	Builtin    bool // every cluster has it
}

// Path is the address of a collection, or of one object in it. Without a namespace
// it is the collection of the whole cluster.
func (k Kind) Path(namespace, name string) string {
	p := "/apis/" + k.GVR.Group + "/" + k.GVR.Version
	if k.GVR.Group == "" {
		p = "/api/" + k.GVR.Version
	}
	if k.Namespaced && namespace != "" {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	p += "/" + k.GVR.Resource
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// Object is one rendered object of a role.
type Object struct {
	ID   ID
	Kind Kind   // filled in by client.Resolve
	Hash string // of the object as it was rendered
	Body *unstructured.Unstructured
}

// Parse reads the rendered objects of a role.
func Parse(role release.Role) ([]*Object, error) {
	objects := make([]*Object, 0, len(role.Objects))
	known := map[ID]bool{}
	for i, raw := range role.Objects {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw, &u.Object); err != nil {
			return nil, fmt.Errorf("role %s: object %d: %w", role.Name, i+1, err)
		}
		if u.GetAPIVersion() == "" || u.GetKind() == "" || u.GetName() == "" {
			return nil, fmt.Errorf("role %s: object %d: apiVersion, kind or metadata.name is missing", role.Name, i+1)
		}
		id := IDOf(u)
		if known[id] {
			return nil, fmt.Errorf("role %s: %s is declared twice", role.Name, id)
		}
		known[id] = true
		objects = append(objects, &Object{ID: id, Body: u, Hash: hashOf(raw)})
	}
	return objects, nil
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// As reads an object as its Go type, without its managed fields.
func As[T any](u *unstructured.Unstructured) (*T, error) {
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(withoutManagedFields(u).Object, &typed); err != nil {
		return nil, fmt.Errorf("%s: %w", IDOf(u), err)
	}
	return &typed, nil
}
