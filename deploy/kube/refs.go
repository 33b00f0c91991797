package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/release"
)

// reference is something that a pod names and cannot start without.
type reference struct {
	id  ID
	key string // of a Secret or ConfigMap; empty for the whole
}

// code is the finding's if it is not there.
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

// referencesOf lists what a pod names, without what it says it can do without.
func referencesOf(spec *corev1.PodSpec, namespace string) []reference {
	r := &refs{namespace: namespace}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			r.ofContainer(&list[i])
		}
	}
	for i := range spec.Volumes {
		r.ofVolume(&spec.Volumes[i])
	}
	if name := firstOf(spec.ServiceAccountName, spec.DeprecatedServiceAccount); name != "" && name != "default" {
		r.add("", "ServiceAccount", name, "")
	}
	if spec.PriorityClassName != "" && !strings.HasPrefix(spec.PriorityClassName, "system-") {
		r.addWide("scheduling.k8s.io", "PriorityClass", spec.PriorityClassName)
	}
	if spec.RuntimeClassName != nil && *spec.RuntimeClassName != "" {
		r.addWide("node.k8s.io", "RuntimeClass", *spec.RuntimeClassName)
	}
	return r.list
}

type refs struct {
	namespace string
	list      []reference
}

func (r *refs) add(group, kind, name, key string) {
	r.list = append(r.list, reference{ID{group, kind, r.namespace, name}, key})
}

func (r *refs) addWide(group, kind, name string) {
	r.list = append(r.list, reference{ID{Group: group, Kind: kind, Name: name}, ""})
}

func needed(optional *bool) bool { return optional == nil || !*optional }

func (r *refs) ofContainer(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if s := from.SecretRef; s != nil && needed(s.Optional) {
			r.add("", "Secret", s.Name, "")
		}
		if m := from.ConfigMapRef; m != nil && needed(m.Optional) {
			r.add("", "ConfigMap", m.Name, "")
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if s := e.ValueFrom.SecretKeyRef; s != nil && needed(s.Optional) {
			r.add("", "Secret", s.Name, s.Key)
		}
		if m := e.ValueFrom.ConfigMapKeyRef; m != nil && needed(m.Optional) {
			r.add("", "ConfigMap", m.Name, m.Key)
		}
	}
}

func (r *refs) ofVolume(v *corev1.Volume) {
	if s := v.Secret; s != nil && needed(s.Optional) {
		r.keys("Secret", s.SecretName, s.Items)
	}
	if m := v.ConfigMap; m != nil && needed(m.Optional) {
		r.keys("ConfigMap", m.Name, m.Items)
	}
	if v.PersistentVolumeClaim != nil {
		r.add("", "PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName, "")
	}
	if v.Projected == nil {
		return
	}
	for _, source := range v.Projected.Sources {
		if s := source.Secret; s != nil && needed(s.Optional) {
			r.keys("Secret", s.Name, s.Items)
		}
		if m := source.ConfigMap; m != nil && needed(m.Optional) {
			r.keys("ConfigMap", m.Name, m.Items)
		}
	}
}

func (r *refs) keys(kind, name string, items []corev1.KeyToPath) {
	r.add("", kind, name, "")
	for _, item := range items {
		r.add("", kind, name, item.Key)
	}
}

// references checks that everything that pods and claims name is there.
func (s *survey) references(ctx context.Context) error {
	err := s.eachPod(ctx, func(ctx context.Context, p part, t template) error {
		for _, ref := range referencesOf(&t.spec, t.object.id.Namespace) {
			if err := s.reference(ctx, p, t.object, ref); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range s.parts {
		for _, o := range p.objects {
			for _, class := range storageClasses(o.body) {
				if err := s.reference(ctx, p, o, reference{id: ID{Group: "storage.k8s.io", Kind: "StorageClass", Name: class}}); err != nil {
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
	take := func(object map[string]any) {
		if name, _, _ := unstructured.NestedString(object, "spec", "storageClassName"); name != "" {
			out = append(out, name)
		}
	}
	switch u.GetKind() {
	case "PersistentVolumeClaim":
		take(u.Object)
	case "StatefulSet":
		claims, _, _ := unstructured.NestedSlice(u.Object, "spec", "volumeClaimTemplates")
		for _, c := range claims {
			if m, ok := c.(map[string]any); ok {
				take(m)
			}
		}
	}
	return out
}

func (s *survey) reference(ctx context.Context, p part, by *object, ref reference) error {
	live, err := s.read(ctx, ref.id)
	f := release.Finding{Code: ref.code(), Severity: release.Refuses, Role: p.role.Name, Object: by.id.String()}
	var forbidden *ForbiddenError
	switch {
	case errors.As(err, &forbidden):
		f.Code, f.Severity = release.CodeUnchecked, release.Warns
		f.Message, f.Hint = fmt.Sprintf("%s is not checked: %s", ref.id, forbidden), forbidden.Hint()
	case err != nil:
		return fmt.Errorf("look for %s: %w", ref.id, err)
	case live == nil:
		f.Code = reference{id: ref.id}.code() // no matter which of its keys is wanted
		f.Message, f.Hint = ref.id.String()+" is not there", "create it, or put it among the role's manifests"
	case ref.key == "" || hasKey(live, ref.key):
		return nil
	default:
		f.Message, f.Hint = fmt.Sprintf("%s has no key %q", ref.id, ref.key), "add the key, or correct the reference to it"
	}
	s.find(f)
	return nil
}

// hasKey looks into a Secret or ConfigMap.
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
