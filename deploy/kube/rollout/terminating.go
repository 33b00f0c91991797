package rollout

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// overduePod is a pod of an object that should be gone by now and is not; nil if there is
// none. A pod of the same name, or on the same node, has to wait for it.
func (r *run) overduePod(t *tracked, now time.Time) *pod {
	if t.Live == nil {
		return nil
	}
	var found *pod
	look := func(uid types.UID) {
		p := r.pods[uid]
		if p == nil || p.from == nil || p.DeletionTimestamp == nil || now.Before(p.DeletionTimestamp.Time) {
			return
		}
		if found == nil || p.Name < found.Name {
			found = p
		}
	}
	look(t.Live.GetUID())
	for child := range r.controlled[t.Live.GetUID()] {
		look(child)
		for grandchild := range r.controlled[child] {
			look(grandchild)
		}
	}
	return found
}

// overdueText says what keeps a pod that is being deleted, and what to do.
func overdueText(p *pod) (message, hint string) {
	name := fmt.Sprintf("Pod %s/%s", p.Namespace, p.Name)
	if len(p.Finalizers) == 0 {
		return name + " is being deleted, and its node " + p.Spec.NodeName + " has not confirmed it",
			fmt.Sprintf("if the node is gone for good: kubectl delete pod -n %s %s --force", p.Namespace, p.Name)
	}
	return name + " is being deleted and kept by the finalizer " + strings.Join(p.Finalizers, ", "),
		fmt.Sprintf("see why its controller does not remove the finalizer; if nobody will: kubectl patch pod -n %s %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'", p.Namespace, p.Name)
}
