package preflight

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// reference is an object that a pod refers to and cannot start without.
type reference struct {
	id  object.ID
	key string // of a Secret or ConfigMap; empty for the whole
}

// code is that of the finding for one that does not exist.
func (r reference) code() release.Code {
	switch {
	case r.id.Kind == "Secret" && r.key != "":
		return release.CodeSecretKeyMissing
	case r.id.Kind == "Secret":
		return release.CodeSecretMissing
	case r.key != "":
		return release.CodeConfigMapKeyMissing
	}
	return map[string]release.Code{
		"ConfigMap": release.CodeConfigMapMissing, "ServiceAccount": release.CodeServiceAccountMissing,
		"PersistentVolumeClaim": release.CodeClaimMissing, "PriorityClass": release.CodePriorityClassMissing,
		"RuntimeClass": release.CodeRuntimeClassMissing, "StorageClass": release.CodeStorageClassMissing,
	}[r.id.Kind]
}

// referencesOf lists what a pod refers to, without references that are optional.
func referencesOf(spec *corev1.PodSpec, namespace string) []reference {
	l := &referenceList{namespace: namespace}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			l.container(&list[i])
		}
	}
	for i := range spec.Volumes {
		l.volume(&spec.Volumes[i])
	}
	if name := cmp.Or(spec.ServiceAccountName, spec.DeprecatedServiceAccount); name != "" && name != "default" {
		l.add("", "ServiceAccount", name, "")
	}
	if spec.PriorityClassName != "" && !strings.HasPrefix(spec.PriorityClassName, "system-") {
		l.addClusterWide("scheduling.k8s.io", "PriorityClass", spec.PriorityClassName)
	}
	if spec.RuntimeClassName != nil && *spec.RuntimeClassName != "" {
		l.addClusterWide("node.k8s.io", "RuntimeClass", *spec.RuntimeClassName)
	}
	return l.list
}

// referenceList collects the references of one pod.
type referenceList struct {
	namespace string
	list      []reference
}

func (l *referenceList) add(group, kind, name, key string) {
	l.list = append(l.list, reference{object.ID{Group: group, Kind: kind, Namespace: l.namespace, Name: name}, key})
}

func (l *referenceList) addClusterWide(group, kind, name string) {
	l.list = append(l.list, reference{object.ID{Group: group, Kind: kind, Name: name}, ""})
}

// required reports whether a reference is not optional.
func required(optional *bool) bool { return optional == nil || !*optional }

func (l *referenceList) container(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if s := from.SecretRef; s != nil && required(s.Optional) {
			l.add("", "Secret", s.Name, "")
		}
		if m := from.ConfigMapRef; m != nil && required(m.Optional) {
			l.add("", "ConfigMap", m.Name, "")
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if s := e.ValueFrom.SecretKeyRef; s != nil && required(s.Optional) {
			l.add("", "Secret", s.Name, s.Key)
		}
		if m := e.ValueFrom.ConfigMapKeyRef; m != nil && required(m.Optional) {
			l.add("", "ConfigMap", m.Name, m.Key)
		}
	}
}

func (l *referenceList) volume(v *corev1.Volume) {
	if s := v.Secret; s != nil && required(s.Optional) {
		l.keys("Secret", s.SecretName, s.Items)
	}
	if m := v.ConfigMap; m != nil && required(m.Optional) {
		l.keys("ConfigMap", m.Name, m.Items)
	}
	if v.PersistentVolumeClaim != nil {
		l.add("", "PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName, "")
	}
	if v.Projected == nil {
		return
	}
	for _, source := range v.Projected.Sources {
		if s := source.Secret; s != nil && required(s.Optional) {
			l.keys("Secret", s.Name, s.Items)
		}
		if m := source.ConfigMap; m != nil && required(m.Optional) {
			l.keys("ConfigMap", m.Name, m.Items)
		}
	}
}

func (l *referenceList) keys(kind, name string, items []corev1.KeyToPath) {
	l.add("", kind, name, "")
	for _, item := range items {
		l.add("", kind, name, item.Key)
	}
}

// references checks that everything exists that pods and claims refer to.
func (r *run) references(ctx context.Context) error {
	err := r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		for _, ref := range referencesOf(&w.pod.Spec, w.ID.Namespace) {
			if err := r.reference(ctx, role, w.Object, ref); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, role := range r.roles {
		for _, o := range role.objects {
			for _, class := range storageClasses(o.Body) {
				if err := r.reference(ctx, role, o, reference{id: object.ID{Group: "storage.k8s.io", Kind: "StorageClass", Name: class}}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// storageClasses are those that a claim, or a StatefulSet's claims, name.
func storageClasses(u *unstructured.Unstructured) []string {
	var out []string
	add := func(claim map[string]any) {
		if name, _, _ := unstructured.NestedString(claim, "spec", "storageClassName"); name != "" {
			out = append(out, name)
		}
	}
	switch u.GetKind() {
	case "PersistentVolumeClaim":
		add(u.Object)
	case "StatefulSet":
		claims, _, _ := unstructured.NestedSlice(u.Object, "spec", "volumeClaimTemplates")
		for _, c := range claims {
			if m, ok := c.(map[string]any); ok {
				add(m)
			}
		}
	}
	return out
}

func (r *run) reference(ctx context.Context, role *role, by *object.Object, ref reference) error {
	live, err := r.read(ctx, ref.id)
	f := release.Finding{Code: ref.code(), Severity: release.Refuses, Role: role.Name, Object: by.ID.String()}
	forbidden := client.IsForbidden(err)
	switch {
	case forbidden != nil:
		f.Code, f.Severity = release.CodeUnchecked, release.Warns
		f.Message, f.Hint = fmt.Sprintf("%s is not checked: %s", ref.id, forbidden), forbidden.Hint()
	case err != nil:
		return fmt.Errorf("read %s: %w", ref.id, err)
	case live == nil:
		f.Code = reference{id: ref.id}.code() // no matter which of its keys is wanted
		f.Message, f.Hint = ref.id.String()+" does not exist", "create it, or put it among the role's manifests"
	case ref.key == "" || hasKey(live, ref.key):
		return nil
	default:
		f.Message, f.Hint = fmt.Sprintf("%s has no key %q", ref.id, ref.key), "add the key, or correct the reference to it"
	}
	r.found(f)
	return nil
}

// hasKey reports whether a Secret or ConfigMap has a key.
func hasKey(u *unstructured.Unstructured, key string) bool {
	for _, field := range []string{"data", "stringData", "binaryData"} {
		if m, _, _ := unstructured.NestedMap(u.Object, field); m != nil {
			if _, ok := m[key]; ok {
				return true
			}
		}
	}
	return false
}
