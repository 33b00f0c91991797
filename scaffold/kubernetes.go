package scaffold

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// workload is what a manifest runs.
type workload struct {
	kind, name  string
	namespace   located // empty text if the manifest says none
	file        string
	entry       string // what roles.*.kubernetes.manifests names: the file, or a kustomization's folder
	unsure      string // why another entry may be meant; "" if none may
	pod         podSpec
	replicas    *int
	kustomized  map[string]string // image as written → as the kustomization makes it
	kustomizeNS located           // namespace that the kustomization sets
}

type podSpec struct {
	Containers       []container `yaml:"containers"`
	ImagePullSecrets []struct {
		Name string `yaml:"name"`
	} `yaml:"imagePullSecrets"`
	SecurityContext securityContext `yaml:"securityContext"`
}

type securityContext struct {
	RunAsUser  *int64 `yaml:"runAsUser"`
	RunAsGroup *int64 `yaml:"runAsGroup"`
}

type container struct {
	Name    string  `yaml:"name"`
	Image   atLine  `yaml:"image"`
	EnvFrom []envOf `yaml:"envFrom"`
	Env     []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	Ports []struct {
		Name          string `yaml:"name"`
		ContainerPort int    `yaml:"containerPort"`
	} `yaml:"ports"`
	ReadinessProbe  healthProbe     `yaml:"readinessProbe"`
	StartupProbe    healthProbe     `yaml:"startupProbe"`
	LivenessProbe   healthProbe     `yaml:"livenessProbe"`
	SecurityContext securityContext `yaml:"securityContext"`
}

type envOf struct {
	SecretRef    reference `yaml:"secretRef"`
	ConfigMapRef reference `yaml:"configMapRef"`
}

type reference struct {
	Name string `yaml:"name"`
}

type healthProbe struct {
	HTTPGet struct {
		Path atLine `yaml:"path"`
		Port any    `yaml:"port"`
	} `yaml:"httpGet"`
}

// atLine is a text that knows its line.
type atLine located

func (a *atLine) UnmarshalYAML(n *yaml.Node) error {
	a.text, a.line = n.Value, n.Line
	return nil
}

// manifest is the part of a Kubernetes object that is read.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace atLine `yaml:"namespace"`
	} `yaml:"metadata"`
	Spec struct {
		podSpec  `yaml:",inline"`
		Replicas *int `yaml:"replicas"`
		Template struct {
			Spec podSpec `yaml:"spec"`
		} `yaml:"template"`
		JobTemplate struct {
			Spec struct {
				Template struct {
					Spec podSpec `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		} `yaml:"jobTemplate"`
	} `yaml:"spec"`
}

// workloads are what the manifests of the repository run, by file.
func workloads(f files) []workload {
	kustomizations := readKustomizations(f)
	var found []workload
	for _, at := range f.named(".yaml", ".yml") {
		text := f.text(at)
		if !strings.Contains(text, "apiVersion:") {
			continue
		}
		for _, w := range workloadsOf(at, text) {
			kustomizations.place(&w)
			found = append(found, w)
		}
	}
	return found
}

// workloadsOf reads a file as far as it is YAML; a template, as of Helm, is none.
func workloadsOf(file, text string) []workload {
	var found []workload
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var m manifest
		if decoder.Decode(&m) != nil {
			return found
		}
		pod := m.Spec.podSpec
		for _, other := range []podSpec{m.Spec.Template.Spec, m.Spec.JobTemplate.Spec.Template.Spec} {
			if len(other.Containers) > 0 {
				pod = other
			}
		}
		if len(pod.Containers) == 0 || m.APIVersion == "" {
			continue
		}
		found = append(found, workload{
			kind: m.Kind, name: m.Metadata.Name, file: file, entry: file, pod: pod, replicas: m.Spec.Replicas,
			namespace: located(m.Metadata.Namespace),
		})
	}
}

// image is the image of a container as it is applied, without tag and digest.
func (w workload) image(c container) string {
	written := withoutTag(c.Image.text)
	return cmp.Or(w.kustomized[written], written)
}

// ns is the namespace of the workload and where it was found.
func (w workload) ns() (name, from string) {
	if w.kustomizeNS.text != "" {
		return w.kustomizeNS.text, place(kustomizationFile(w.entry), w.kustomizeNS.line)
	}
	return w.namespace.text, place(w.file, w.namespace.line)
}

// withoutTag is the repository of an image reference.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndex(ref, ":"); colon > strings.LastIndex(ref, "/") {
		ref = ref[:colon]
	}
	return ref
}

// port is the port that a container serves.
func (c container) port() int {
	if len(c.Ports) == 0 {
		return 0
	}
	for _, p := range c.Ports {
		if p.Name == "http" {
			return p.ContainerPort
		}
	}
	return c.Ports[0].ContainerPort
}

// health is the path by which the kubelet asks a container, and its line.
func (c container) health() located {
	for _, p := range []healthProbe{c.ReadinessProbe, c.StartupProbe, c.LivenessProbe} {
		if p.HTTPGet.Path.text != "" {
			return located(p.HTTPGet.Path)
		}
	}
	return located{}
}

// variables are the plain values of the container's environment.
func (c container) variables() []setting {
	var list []setting
	for _, e := range c.Env {
		list = append(list, setting{e.Name, e.Value})
	}
	return list
}

// brings names what of the pod the manifest already says: secrets to pull with and
// to read the environment from.
func (w workload) brings(c container) []string {
	var list []string
	for _, s := range w.pod.ImagePullSecrets {
		list = append(list, "pull secret "+s.Name)
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef.Name != "" {
			list = append(list, "envFrom secret "+e.SecretRef.Name)
		}
		if e.ConfigMapRef.Name != "" {
			list = append(list, "envFrom config map "+e.ConfigMapRef.Name)
		}
	}
	return list
}

// user is uid:gid of the container as the manifest says; "" if it says none.
func (w workload) user(c container) string {
	uid := cmp.Or(c.SecurityContext.RunAsUser, w.pod.SecurityContext.RunAsUser)
	gid := cmp.Or(c.SecurityContext.RunAsGroup, w.pod.SecurityContext.RunAsGroup, uid)
	if uid == nil {
		return ""
	}
	return number(*uid) + ":" + number(*gid)
}

// runs reports whether a workload keeps running; a Job does not.
func (w workload) runs() bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "Rollout"}, w.kind)
}

// kustomizationFile is the name of a kustomization for comments.
func kustomizationFile(dir string) string { return path.Join(dir, "kustomization.yaml") }
