package rollout

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/internal/pattern"
)

// imageGrace is how long a kubelet is given to restart a container of a bare Pod whose
// image has changed. Some runtimes report a digest that is not the one that was asked
// for; the comparison at the end of a release then says what runs.
const imageGrace = 30 * time.Second

var pinned = pattern.Lazy(`sha256:[0-9a-f]{64}$`)

// containerIDs are those of a pod's containers, by name; nil for other kinds.
func containerIDs(u *unstructured.Unstructured) map[string]string {
	p := podOf(u)
	if p == nil {
		return nil
	}
	out := map[string]string{}
	for _, s := range p.Status.ContainerStatuses {
		out[s.Name] = s.ContainerID
	}
	return out
}

// outdatedContainer is a container of a changed Pod that still runs what it ran before
// the apply: the kubelet restarts it in place, and until then the pod stays ready.
// Empty if there is none.
func (r *run) outdatedContainer(t *tracked, now time.Time) string {
	if !t.Changed || now.Sub(r.began) >= imageGrace {
		return ""
	}
	p := podOf(t.Live)
	if p == nil {
		return ""
	}
	for _, c := range p.Spec.Containers {
		for _, s := range p.Status.ContainerStatuses {
			wanted := pinned().FindString(c.Image)
			if s.Name == c.Name && wanted != "" && pinned().FindString(s.ImageID) != wanted && s.ContainerID == t.before[s.Name] {
				return s.Name
			}
		}
	}
	return ""
}

// podOf is a live Pod; nil for other kinds.
func podOf(u *unstructured.Unstructured) *corev1.Pod {
	if u == nil || !object.IDOf(u).IsPod() {
		return nil
	}
	p, err := object.As[corev1.Pod](u)
	if err != nil {
		return nil
	}
	return p
}
