package kube

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	served func(path string, into any) error // asks the server
	mu     sync.Mutex
	known  map[schema.GroupVersionKind]kind
	listed map[schema.GroupKind]kind
}

func newKinds(served func(path string, into any) error) *kinds {
	k := &kinds{served: served, known: map[schema.GroupVersionKind]kind{}, listed: map[schema.GroupKind]kind{}}
	for _, line := range wellKnown {
		part := strings.Split(line, ":")
		group, version, _ := strings.Cut(part[0], "/")
		resource, clusterWide := strings.CutSuffix(part[2], "*")
		gvk := schema.GroupVersionKind{Group: group, Version: version, Kind: part[1]}
		known := kind{gvr: gvk.GroupVersion().WithResource(resource), gk: gvk.GroupKind(), namespaced: !clusterWide, builtin: true}
		k.known[gvk], k.listed[known.gk] = known, known
	}
	return k
}

func (k *kinds) add(gvk schema.GroupVersionKind, resource string, namespaced bool) kind {
	found := kind{gvr: gvk.GroupVersion().WithResource(resource), gk: gvk.GroupKind(), namespaced: namespaced}
	k.known[gvk] = found
	if _, ok := k.listed[found.gk]; !ok {
		k.listed[found.gk] = found
	}
	return found
}

// of returns the resource of a kind in the version that is asked for.
func (k *kinds) of(gvk schema.GroupVersionKind) (kind, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if found, ok := k.known[gvk]; ok {
		return found, nil
	}
	var list metav1.APIResourceList
	at := kind{gvr: gvk.GroupVersion().WithResource("")}.path("", "")
	if err := k.served(strings.TrimSuffix(at, "/"), &list); err != nil {
		return kind{}, err
	}
	for _, r := range list.APIResources {
		if !strings.Contains(r.Name, "/") {
			k.add(gvk.GroupVersion().WithKind(r.Kind), r.Name, r.Namespaced)
		}
	}
	if found, ok := k.known[gvk]; ok {
		return found, nil
	}
	return kind{}, &noKindError{gvk}
}

// noKindError says that the server has a group and version, and no such kind in it.
type noKindError struct{ gvk schema.GroupVersionKind }

func (e *noKindError) Error() string {
	return fmt.Sprintf("the server has no kind %s in %s", e.gvk.Kind, e.gvk.GroupVersion())
}

// any returns the resource of a kind in whichever version lists it; false if the
// server no longer has it.
func (k *kinds) any(gk schema.GroupKind) (kind, bool, error) {
	k.mu.Lock()
	found, ok := k.listed[gk]
	k.mu.Unlock()
	if ok {
		return found, true, nil
	}
	versions, err := k.versions(gk.Group)
	if err != nil {
		return kind{}, false, err
	}
	for _, version := range versions {
		found, err := k.of(gk.WithVersion(version))
		var none *noKindError
		if errors.As(err, &none) || apierrors.IsNotFound(err) {
			continue
		}
		return found, err == nil, err
	}
	return kind{}, false, nil
}

// versions are those of a group, the one first that the server prefers; none if it
// has no such group.
func (k *kinds) versions(group string) ([]string, error) {
	if group == "" { // the core, which /apis does not list
		var core metav1.APIVersions
		err := k.served("/api", &core)
		return core.Versions, err
	}
	var groups metav1.APIGroupList
	if err := k.served("/apis", &groups); err != nil {
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

// learn takes a kind from its definition, so that it need not be asked for.
func (k *kinds) learn(u *unstructured.Unstructured) {
	if u.GetKind() != "CustomResourceDefinition" {
		return
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	name, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
	scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok {
			if version, _ := m["name"].(string); version != "" {
				k.add(schema.GroupVersionKind{Group: group, Version: version, Kind: name}, plural, scope == "Namespaced")
			}
		}
	}
}
