package manifests

import (
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// object is one Kubernetes object, and where it came from.
type object struct {
	fields map[string]any
	file   string // empty if it was generated
	line   int
	source source
}

// source is the text of which an object was read: to find the line of a field.
type source struct {
	doc  document
	path string // of the object in the document, such as items[2]; empty if it is all of it
}

func (o object) kind() string       { return text(o.fields, "kind") }
func (o object) apiVersion() string { return text(o.fields, "apiVersion") }
func (o object) name() string       { return text(o.metadata(), "name") }
func (o object) namespace() string  { return text(o.metadata(), "namespace") }
func (o object) position() string   { return position(o.file, o.line) }

func (o object) group() string {
	group, _, found := strings.Cut(o.apiVersion(), "/")
	if !found {
		return ""
	}
	return group
}

// id is how people name the object: Kind namespace/name.
func (o object) id() string {
	if ns := o.namespace(); ns != "" {
		return o.kind() + " " + ns + "/" + o.name()
	}
	return strings.TrimSpace(o.kind() + " " + o.name())
}

func (o object) metadata() map[string]any { return mapping(o.fields, "metadata") }

func (o object) fault(code release.Code, msg, hint string) *Error {
	return &Error{Code: code, File: o.file, Line: o.line, Object: o.id(), Msg: msg, Hint: hint}
}

// applyOrder is when the object is applied: what others need to exist goes first.
func (o object) applyOrder() int {
	switch {
	case o.kind() == "Namespace" && o.group() == "":
		return 0
	case o.kind() == "CustomResourceDefinition":
		return 1
	default:
		return 2
	}
}

// clusterScoped reports whether the kind has no namespace: one of Kubernetes'
// own, or one that a CustomResourceDefinition among all says so of. Whether any
// other custom kind has one, only the cluster knows.
func (o object) clusterScoped(all []object) bool {
	switch o.group() {
	case "":
		return o.kind() == "Namespace" || o.kind() == "Node" || o.kind() == "PersistentVolume"
	case "rbac.authorization.k8s.io":
		return o.kind() == "ClusterRole" || o.kind() == "ClusterRoleBinding"
	case "storage.k8s.io":
		return o.kind() != "CSIStorageCapacity"
	case "networking.k8s.io":
		return o.kind() == "IngressClass" || o.kind() == "IPAddress" || o.kind() == "ServiceCIDR"
	case "certificates.k8s.io":
		return o.kind() != "PodCertificateRequest"
	case "resource.k8s.io":
		return o.kind() == "DeviceClass" || o.kind() == "ResourceSlice"
	case "apiextensions.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io", "scheduling.k8s.io",
		"node.k8s.io", "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io":
		return true
	}
	for _, other := range all {
		if other.kind() != "CustomResourceDefinition" {
			continue
		}
		spec := mapping(other.fields, "spec")
		if text(spec, "group") == o.group() && text(mapping(spec, "names"), "kind") == o.kind() {
			return text(spec, "scope") == "Cluster"
		}
	}
	return false
}

// dropServerFields takes out what only the server writes: a manifest that
// was saved from a cluster has it, and there it conflicts or restarts things.
func (o object) dropServerFields() {
	delete(o.fields, "status")
	meta := o.metadata()
	for _, key := range []string{"creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink"} {
		delete(meta, key)
	}
	delete(mapping(meta, "annotations"), "kubectl.kubernetes.io/last-applied-configuration")
	for _, template := range o.podTemplates() {
		dropNullTimestamp(template)
	}
	spec := mapping(o.fields, "spec")
	dropNullTimestamp(mapping(spec, "jobTemplate"))
	for _, claim := range mappings(spec, "volumeClaimTemplates") {
		dropNullTimestamp(claim)
		delete(claim, "status")
	}
}

func dropNullTimestamp(m map[string]any) {
	meta := mapping(m, "metadata")
	if at, found := meta["creationTimestamp"]; found && at == nil {
		delete(meta, "creationTimestamp")
	}
	if meta != nil && len(meta) == 0 {
		delete(m, "metadata")
	}
}

// podTemplates finds the mappings that hold a pod's metadata and spec: where
// Kubernetes' workloads keep them, and most custom ones too. For a Pod it is
// the object itself.
func (o object) podTemplates() []map[string]any {
	spec := mapping(o.fields, "spec")
	jobTemplate := mapping(spec, "jobTemplate")
	candidates := []map[string]any{
		o.fields,                      // Pod
		mapping(o.fields, "template"), // PodTemplate
		mapping(spec, "template"),     // Deployment, StatefulSet, DaemonSet, ReplicaSet, Job
		mapping(mapping(jobTemplate, "spec"), "template"), // CronJob
	}
	var found []map[string]any
	for _, c := range candidates {
		if isPod(c) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && o.custom() {
		return podsIn(o.fields)
	}
	return found
}

func isPod(m map[string]any) bool {
	_, ok := mapping(m, "spec")["containers"].([]any)
	return ok
}

// podsIn finds what looks like a pod's metadata and spec anywhere in a custom
// resource, in the order of the keys.
func podsIn(value any) []map[string]any {
	var found []map[string]any
	switch value := value.(type) {
	case map[string]any:
		if isPod(value) {
			return []map[string]any{value}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			found = append(found, podsIn(value[key])...)
		}
	case []any:
		for _, item := range value {
			found = append(found, podsIn(item)...)
		}
	}
	return found
}

// custom reports whether the kind is not one of Kubernetes' own.
func (o object) custom() bool {
	return strings.Contains(o.group(), ".") && !strings.HasSuffix(o.group(), ".k8s.io")
}

// text is a string field, empty if it is not there or no string.
func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// mapping is a field that is a mapping, nil if it is not there or none.
func mapping(m map[string]any, key string) map[string]any {
	inner, _ := m[key].(map[string]any)
	return inner
}

// mappings are the items of a list field that are mappings.
func mappings(m map[string]any, key string) []map[string]any {
	list, _ := m[key].([]any)
	var items []map[string]any
	for _, item := range list {
		if inner, ok := item.(map[string]any); ok {
			items = append(items, inner)
		}
	}
	return items
}

// ensure is mapping, made if it is not there.
func ensure(m map[string]any, key string) map[string]any {
	inner := mapping(m, key)
	if inner == nil {
		inner = map[string]any{}
		m[key] = inner
	}
	return inner
}
