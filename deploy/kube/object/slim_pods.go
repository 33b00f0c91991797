package object

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SlimPods takes from pods what no rollout, comparison or diagnosis reads of them, and
// holds once what the pods of one controller have alike: a release may hold thousands.
// The zero value works; it is for one goroutine.
type SlimPods struct {
	first map[types.UID]*corev1.Pod // of each controller, the first pod
	texts map[string]string
}

// Slim makes a pod slim: of its specification the node, the restart policy, the grace
// period, the containers by their names, images, policies and probes, and the Secrets
// that are read remain. Managed fields are the caller's to keep: a pod with any is not
// made slim. Of its status the addresses, and the conditions but for those of its readiness
// and of a node that it does not get, are left out.
func (s *SlimPods) Slim(p *corev1.Pod) {
	if len(p.ManagedFields) > 0 {
		return
	}
	p.Annotations, p.GenerateName, p.SelfLink = nil, "", ""
	spec := &p.Spec
	p.Spec = corev1.PodSpec{
		NodeName: spec.NodeName, RestartPolicy: spec.RestartPolicy, TerminationGracePeriodSeconds: spec.TerminationGracePeriodSeconds,
		InitContainers: slimContainers(spec.InitContainers), Containers: slimContainers(spec.Containers), Volumes: secretVolumes(spec.Volumes),
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			list[i].VolumeMounts, list[i].AllocatedResources, list[i].AllocatedResourcesStatus, list[i].Resources, list[i].User = nil, nil, nil, nil, nil
			s.share(&list[i].Name, &list[i].Image, &list[i].ImageID)
		}
	}
	status := &p.Status
	status.HostIP, status.HostIPs, status.PodIP, status.PodIPs = "", nil, "", nil
	status.Conditions = slimConditions(status.Conditions)
	for i := range status.Conditions {
		c := &status.Conditions[i]
		share(s, &c.Type)
		share(s, &c.Status)
		s.share(&c.Reason, &c.Message)
	}
	share(s, &p.Status.Phase)
	s.share(&p.Namespace, &p.Spec.NodeName)
	s.shareWithSiblings(p)
}

// shareWithSiblings replaces what a pod has as the first one of its controller has it.
func (s *SlimPods) shareWithSiblings(p *corev1.Pod) {
	controller := metav1.GetControllerOfNoCopy(p)
	if controller == nil {
		return
	}
	first := s.first[controller.UID]
	if first == nil {
		if s.first == nil {
			s.first = map[types.UID]*corev1.Pod{}
		}
		s.first[controller.UID] = p
		return
	}
	same(&p.Labels, first.Labels)
	same(&p.OwnerReferences, first.OwnerReferences)
	same(&p.Spec.TerminationGracePeriodSeconds, first.Spec.TerminationGracePeriodSeconds)
	same(&p.Spec.InitContainers, first.Spec.InitContainers)
	same(&p.Spec.Containers, first.Spec.Containers)
	same(&p.Spec.Volumes, first.Spec.Volumes)
}

func same[T any](mine *T, other T) {
	if reflect.DeepEqual(*mine, other) {
		*mine = other
	}
}

// share replaces texts by equal ones that are held already.
func (s *SlimPods) share(texts ...*string) {
	for _, t := range texts {
		share(s, t)
	}
}

func share[T ~string](s *SlimPods, text *T) {
	if held, ok := s.texts[string(*text)]; ok {
		*text = T(held)
		return
	}
	if s.texts == nil {
		s.texts = map[string]string{}
	}
	s.texts[string(*text)] = string(*text)
}

// slimConditions are those that say whether a pod is ready, and why it has no node.
func slimConditions(list []corev1.PodCondition) []corev1.PodCondition {
	read := func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady || c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue
	}
	var out []corev1.PodCondition
	for _, c := range list {
		if read(c) {
			out = append(out, c)
		}
	}
	return out
}

func slimContainers(list []corev1.Container) []corev1.Container {
	if len(list) == 0 {
		return nil
	}
	out := make([]corev1.Container, len(list))
	for i, c := range list {
		out[i] = corev1.Container{Name: c.Name, Image: c.Image, RestartPolicy: c.RestartPolicy, ReadinessProbe: c.ReadinessProbe, StartupProbe: c.StartupProbe}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				out[i].EnvFrom = append(out[i].EnvFrom, from)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				out[i].Env = append(out[i].Env, e)
			}
		}
	}
	return out
}

// secretVolumes are the volumes that may hold a Secret.
func secretVolumes(list []corev1.Volume) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range list {
		if v.Secret != nil || v.Projected != nil && len(SecretsOf(&corev1.PodSpec{Volumes: []corev1.Volume{v}})) > 0 {
			out = append(out, v)
		}
	}
	return out
}
