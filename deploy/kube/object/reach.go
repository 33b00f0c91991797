package object

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Env is what the containers of the objects are told by their environment, as far as the
// objects say it: of a variable that several have, the first value that is not empty.
func Env(objects []*Object) map[string]string {
	env := map[string]string{}
	for _, pod := range podsMade(objects) {
		for _, c := range pod.Spec.Containers {
			for _, v := range c.Env {
				if env[v.Name] == "" && v.Value != "" {
					env[v.Name] = v.Value
				}
			}
		}
	}
	return env
}

// ServiceNames are the host:port by which the cluster's DNS knows the Services that lead
// to a port of the objects' pods, with the port of the Service: of each first the one that
// resolves in every namespace. Where no object is a template of pods, a controller of its
// own makes them, and every Service counts that can lead to the port.
func ServiceNames(objects []*Object, port int) []string {
	pods := podsMade(objects)
	var out []string
	for _, o := range objects {
		var s corev1.Service
		if o.ID.Group != "" || o.ID.Kind != "Service" || convert(o.Body.Object, &s) != nil {
			continue
		}
		at := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return leadsTo(s, p, port, pods) })
		if at < 0 {
			continue
		}
		number := strconv.Itoa(int(s.Spec.Ports[at].Port))
		for _, host := range []string{s.Name + "." + s.Namespace + ".svc", s.Name, s.Name + "." + s.Namespace, s.Name + "." + s.Namespace + ".svc.cluster.local"} {
			out = append(out, net.JoinHostPort(host, number))
		}
	}
	return out
}

// leadsTo reports whether a port of a Service leads to that port of one of the pods.
func leadsTo(s corev1.Service, p corev1.ServicePort, port int, pods []corev1.Pod) bool {
	if len(pods) == 0 {
		return p.TargetPort.Type == intstr.String || targetNumber(p) == port
	}
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		if len(s.Spec.Selector) == 0 || pod.Namespace != s.Namespace || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			return false
		}
		return p.TargetPort.Type == intstr.Int && targetNumber(p) == port || p.TargetPort.Type == intstr.String && portNamed(pod, p.TargetPort.StrVal) == port
	})
}

// targetNumber is the port of the pods that a port of a Service leads to by its number.
func targetNumber(p corev1.ServicePort) int {
	if p.TargetPort.IntVal != 0 {
		return int(p.TargetPort.IntVal)
	}
	return int(p.Port)
}

// portNamed is the port to which a pod's containers give that name; 0 if none does.
func portNamed(pod corev1.Pod, name string) int {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, p := range c.Ports {
			if p.Name == name {
				return int(p.ContainerPort)
			}
		}
	}
	return 0
}

// podsMade are the pods that the objects are or make, each in the namespace in which it
// will be.
func podsMade(objects []*Object) []corev1.Pod {
	var out []corev1.Pod
	for _, o := range objects {
		template := PodTemplate(o.Body)
		if o.ID.IsPod() {
			template = o.Body.Object
		}
		var pod corev1.Pod
		if template == nil || convert(template, &pod) != nil {
			continue
		}
		pod.Namespace = o.ID.Namespace
		out = append(out, pod)
	}
	return out
}

// convert reads a rendered object as its Go type.
func convert(from map[string]any, to any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, to)
}
