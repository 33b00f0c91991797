package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// noteConfig is the annotation of a pod template that changes with the data of
// the ConfigMaps and Secrets that its containers read when they start.
const noteConfig = "shipit.dev/config-hash"

// configRef is a ConfigMap or Secret.
type configRef struct{ kind, namespace, name string }

// hashConfig writes into the pod templates a hash of the data that their
// containers start with, so that a release of other data restarts the pods.
func hashConfig(ins []roleInput, roles [][]object) {
	hashes := map[configRef]string{}
	for _, objects := range roles {
		for _, o := range objects {
			if ref, ok := o.asConfig(); ok {
				hashes[ref] = dataHash(o)
			}
		}
	}
	if len(hashes) == 0 {
		return
	}
	for i, objects := range roles {
		if k := ins[i].Role.Kubernetes; k == nil || k.IgnoreConfigChanges {
			continue
		}
		for _, o := range objects {
			o.annotateConfig(hashes)
		}
	}
}

func (o object) annotateConfig(hashes map[configRef]string) {
	if !o.restarts() {
		return
	}
	for _, template := range o.podTemplates() {
		var lines []string
		for _, ref := range startsWith(template, o.namespace()) {
			if hash, ours := hashes[ref]; ours {
				lines = append(lines, fmt.Sprintf("%s %s %s\n", ref.kind, ref.name, hash))
			}
		}
		if len(lines) > 0 {
			sum := sha256.Sum256([]byte(strings.Join(lines, "")))
			ensure(ensure(template, "metadata"), "annotations")[noteConfig] = hex.EncodeToString(sum[:8])
		}
	}
}

// restarts reports whether the object's controller replaces pods when their
// template changes. Those of a Job end by themselves, and a bare Pod is not replaced.
func (o object) restarts() bool {
	if o.group() == "apps" {
		return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, o.kind())
	}
	return o.custom()
}

func (o object) asConfig() (configRef, bool) {
	is := o.group() == "" && (o.kind() == "ConfigMap" || o.kind() == "Secret")
	return configRef{o.kind(), o.namespace(), o.name()}, is
}

// dataHash covers what a container can read of a ConfigMap or Secret.
func dataHash(o object) string {
	data, err := json.Marshal([]any{o.fields["data"], o.fields["stringData"], o.fields["binaryData"]})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// startsWith lists, sorted, the ConfigMaps and Secrets of which a running container keeps the
// old data: its environment, and files that are mounted by subPath. All other
// volumes are kept up to date by the kubelet.
func startsWith(template map[string]any, namespace string) []configRef {
	found := map[configRef]bool{}
	add := func(kind string, m map[string]any, field string) {
		if name := text(m, field); name != "" {
			found[configRef{kind, namespace, name}] = true
		}
	}
	spec := mapping(template, "spec")
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range mappings(spec, list) {
			for _, from := range mappings(c, "envFrom") {
				add("ConfigMap", mapping(from, "configMapRef"), "name")
				add("Secret", mapping(from, "secretRef"), "name")
			}
			for _, e := range mappings(c, "env") {
				from := mapping(e, "valueFrom")
				add("ConfigMap", mapping(from, "configMapKeyRef"), "name")
				add("Secret", mapping(from, "secretKeyRef"), "name")
			}
			for _, mount := range mappings(c, "volumeMounts") {
				for _, v := range mappings(spec, "volumes") {
					if mount["subPath"] != nil && text(v, "name") == text(mount, "name") {
						add("ConfigMap", mapping(v, "configMap"), "name")
						add("Secret", mapping(v, "secret"), "secretName")
					}
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b configRef) int {
		return strings.Compare(a.kind+" "+a.name, b.kind+" "+b.name)
	})
}

// outside tells which of the data that an object's pods start with is not of the
// release, so that a change of it restarts nothing.
func outside(role config.Role, o object, inside map[configRef]bool) []release.Finding {
	if role.Kubernetes.IgnoreConfigChanges || !o.restarts() {
		return nil
	}
	var names []string
	for _, template := range o.podTemplates() {
		for _, ref := range startsWith(template, o.namespace()) {
			if !inside[ref] {
				names = append(names, ref.kind+" "+ref.name)
			}
		}
	}
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil
	}
	read := names[0] + ", which is"
	if last := len(names) - 1; last > 0 {
		read = strings.Join(names[:last], ", ") + " and " + names[last] + ", which are"
	}
	return []release.Finding{{
		Code: release.CodeConfigOutside, Severity: release.Warns, Role: role.Name, Object: o.id(),
		Message: "reads " + read + " not part of the release: a change of the data does not restart the pods",
		Hint:    "restart the pods when it changes, for instance with `kubectl rollout restart`; kubernetes.ignoreConfigChanges: true silences this",
	}}
}
