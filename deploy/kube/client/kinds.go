package client

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// wellKnown are the kinds of every cluster: group/version, kind, resource; a
// trailing * means that the kind has no namespace. The version is the one by
// which a kind is listed if nothing else names one.
var wellKnown = strings.Fields(`
/v1:Namespace:namespaces* /v1:Node:nodes* /v1:PersistentVolume:persistentvolumes*
/v1:ConfigMap:configmaps /v1:Secret:secrets /v1:Service:services /v1:ServiceAccount:serviceaccounts
/v1:PersistentVolumeClaim:persistentvolumeclaims /v1:Pod:pods /v1:PodTemplate:podtemplates
/v1:ReplicationController:replicationcontrollers /v1:Endpoints:endpoints /v1:LimitRange:limitranges
/v1:ResourceQuota:resourcequotas
apps/v1:Deployment:deployments apps/v1:StatefulSet:statefulsets apps/v1:DaemonSet:daemonsets apps/v1:ReplicaSet:replicasets
batch/v1:Job:jobs batch/v1:CronJob:cronjobs
networking.k8s.io/v1:Ingress:ingresses networking.k8s.io/v1:NetworkPolicy:networkpolicies networking.k8s.io/v1:IngressClass:ingressclasses*
policy/v1:PodDisruptionBudget:poddisruptionbudgets
rbac.authorization.k8s.io/v1:Role:roles rbac.authorization.k8s.io/v1:RoleBinding:rolebindings
rbac.authorization.k8s.io/v1:ClusterRole:clusterroles* rbac.authorization.k8s.io/v1:ClusterRoleBinding:clusterrolebindings*
autoscaling/v2:HorizontalPodAutoscaler:horizontalpodautoscalers
storage.k8s.io/v1:StorageClass:storageclasses* scheduling.k8s.io/v1:PriorityClass:priorityclasses* node.k8s.io/v1:RuntimeClass:runtimeclasses*
apiextensions.k8s.io/v1:CustomResourceDefinition:customresourcedefinitions* apiregistration.k8s.io/v1:APIService:apiservices*
admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration:validatingwebhookconfigurations*
admissionregistration.k8s.io/v1:MutatingWebhookConfiguration:mutatingwebhookconfigurations*
admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy:validatingadmissionpolicies*
admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding:validatingadmissionpolicybindings*
coordination.k8s.io/v1:Lease:leases discovery.k8s.io/v1:EndpointSlice:endpointslices`)

// kinds maps kinds to resources. It knows the built-in ones, learns those of
// CustomResourceDefinitions that are applied, and asks the server for one
// group and version at a time.
type kinds struct {
	discover func(path string, into any) error // asks the server
	mu       sync.Mutex
	known    map[schema.GroupVersionKind]object.Kind
	listed   map[schema.GroupKind]object.Kind
}

func newKinds(discover func(path string, into any) error) *kinds {
	k := &kinds{discover: discover, known: map[schema.GroupVersionKind]object.Kind{}, listed: map[schema.GroupKind]object.Kind{}}
	for _, line := range wellKnown {
		part := strings.Split(line, ":")
		group, version, _ := strings.Cut(part[0], "/")
		resource, clusterWide := strings.CutSuffix(part[2], "*")
		gvk := schema.GroupVersionKind{Group: group, Version: version, Kind: part[1]}
		known := object.Kind{GVR: gvk.GroupVersion().WithResource(resource), GroupKind: gvk.GroupKind(), Namespaced: !clusterWide, Builtin: true}
		k.known[gvk], k.listed[known.GroupKind] = known, known
	}
	return k
}

func (k *kinds) add(gvk schema.GroupVersionKind, resource string, namespaced bool) object.Kind {
	found := object.Kind{GVR: gvk.GroupVersion().WithResource(resource), GroupKind: gvk.GroupKind(), Namespaced: namespaced}
	k.known[gvk] = found
	if _, ok := k.listed[found.GroupKind]; !ok {
		k.listed[found.GroupKind] = found
	}
	return found
}

// of returns the resource of a kind in the version that is asked for.
func (k *kinds) of(gvk schema.GroupVersionKind) (object.Kind, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if found, ok := k.known[gvk]; ok {
		return found, nil
	}
	var list metav1.APIResourceList
	at := object.Kind{GVR: gvk.GroupVersion().WithResource("")}.Path("", "")
	switch err := k.discover(strings.TrimSuffix(at, "/"), &list); {
	case apierrors.IsNotFound(err):
		return object.Kind{}, &noKindError{gvk}
	case err != nil:
		return object.Kind{}, err
	}
	for _, r := range list.APIResources {
		if !strings.Contains(r.Name, "/") {
			k.add(gvk.GroupVersion().WithKind(r.Kind), r.Name, r.Namespaced)
		}
	}
	if found, ok := k.known[gvk]; ok {
		return found, nil
	}
	return object.Kind{}, &noKindError{gvk}
}

// noKindError says that the server has no such kind, or nothing of its group and version.
type noKindError struct{ gvk schema.GroupVersionKind }

func (e *noKindError) Error() string {
	return fmt.Sprintf("the server has no kind %s in %s", e.gvk.Kind, e.gvk.GroupVersion())
}

// Hint names the definition that is missing.
func (e *noKindError) Hint() string {
	if strings.Contains(e.gvk.Group, ".") && !strings.HasSuffix(e.gvk.Group, ".k8s.io") {
		return fmt.Sprintf("the CustomResourceDefinition of %s is missing: install it, or put it among the role's manifests", e.gvk.GroupKind())
	}
	return "correct apiVersion and kind: `kubectl api-resources` lists what the server has"
}

// any returns the resource of a kind in whichever version lists it; false if the
// server no longer has it.
func (k *kinds) any(gk schema.GroupKind) (object.Kind, bool, error) {
	k.mu.Lock()
	found, ok := k.listed[gk]
	k.mu.Unlock()
	if ok {
		return found, true, nil
	}
	versions, err := k.versions(gk.Group)
	if err != nil {
		return object.Kind{}, false, err
	}
	for _, version := range versions {
		found, err := k.of(gk.WithVersion(version))
		var none *noKindError
		if errors.As(err, &none) || apierrors.IsNotFound(err) {
			continue
		}
		return found, err == nil, err
	}
	return object.Kind{}, false, nil
}

// versions are those of a group, the one first that the server prefers; none if it
// has no such group.
func (k *kinds) versions(group string) ([]string, error) {
	if group == "" { // the core, which /apis does not list
		var core metav1.APIVersions
		err := k.discover("/api", &core)
		return core.Versions, err
	}
	var groups metav1.APIGroupList
	if err := k.discover("/apis", &groups); err != nil {
		return nil, err
	}
	var versions []string
	for _, g := range groups.Groups {
		if g.Name != group {
			continue
		}
		versions = append(versions, g.PreferredVersion.Version)
		for _, v := range g.Versions {
			if v.Version != g.PreferredVersion.Version {
				versions = append(versions, v.Version)
			}
		}
	}
	return versions, nil
}

// learn takes a kind from its definition, so that the server need not be asked.
func (k *kinds) learn(u *unstructured.Unstructured) {
	d, ok := object.CRDOf(u)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, version := range d.Versions {
		k.add(d.GroupKind.WithVersion(version), d.Resource, d.Namespaced)
	}
}

// KindOf is the resource of a kind in whichever version the server lists it; false
// if the server does not have the kind.
func (c *Client) KindOf(gk schema.GroupKind) (object.Kind, bool, error) {
	k, known, err := c.kinds.any(gk)
	return k, known, c.explain(err)
}

// Parse reads the rendered objects of a role and finds the resource of each.
func (c *Client) Parse(role release.Role) ([]*object.Object, error) {
	objects, err := object.Parse(role)
	if err != nil {
		return nil, err
	}
	return objects, c.Resolve(objects)
}

// Resolve finds the resource of every object, asking the server only for kinds
// that are neither Kubernetes' own nor defined by the objects themselves.
func (c *Client) Resolve(objects []*object.Object) error {
	for _, o := range objects {
		c.kinds.learn(o.Body)
	}
	for _, o := range objects {
		k, err := c.kinds.of(o.Body.GroupVersionKind())
		if err != nil {
			return fmt.Errorf("%s: %w", o.ID, c.explain(err))
		}
		o.Kind = k
		if !k.Namespaced {
			o.ID.Namespace = ""
			o.Body.SetNamespace("")
		} else if o.ID.Namespace == "" {
			return fmt.Errorf("%s: has no namespace", o.ID)
		}
	}
	return nil
}
