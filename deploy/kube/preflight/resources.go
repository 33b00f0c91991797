package preflight

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// requestsOf is what a pod requests of a node: the sum of its containers, or the
// largest init container if that is more, and its overhead.
func requestsOf(spec *corev1.PodSpec) corev1.ResourceList {
	total := corev1.ResourceList{}
	for _, c := range spec.Containers {
		sum(total, containerRequests(c))
	}
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum(total, containerRequests(c))
			continue
		}
		for name, q := range containerRequests(c) {
			if have := total[name]; q.Cmp(have) > 0 {
				total[name] = q
			}
		}
	}
	sum(total, spec.Overhead)
	return total
}

// containerRequests is what a container requests; a limit without a request is one.
func containerRequests(c corev1.Container) corev1.ResourceList {
	ask := corev1.ResourceList{}
	for name, q := range c.Resources.Limits {
		ask[name] = q
	}
	for name, q := range c.Resources.Requests {
		ask[name] = q
	}
	return ask
}

func sum(into, more corev1.ResourceList) {
	for name, q := range more {
		have := into[name]
		have.Add(q)
		into[name] = have
	}
}

// remaining is what is left of a quota.
func remaining(hard, used resource.Quantity) resource.Quantity {
	left := hard.DeepCopy()
	left.Sub(used)
	return left
}
