// Package apply brings the objects of a role into a cluster and takes away those
// that the role no longer has. Every write is a server-side apply by the field
// manager "shipit". What belongs to a role is known by its ApplySet (KEP-3659), never
// by listing every kind. What is unchanged is found by reading, and costs no write.
package apply

import (
	"context"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Options say how a role is applied.
type Options struct {
	// Policy is about fields that other managers own. Those that it does not mention
	// refuse the apply, but for images, which are taken back, and replicas that an
	// autoscaler owns, which are always ceded.
	Policy   compare.Policy
	Roles    []release.Role // all of the release: what moves to another one is not pruned
	Progress release.Progress
}

// Result is what became of one object.
type Result struct {
	Object   *object.Object
	Action   release.Action
	SamePods bool                       // its pod template is as it was before, so that no pod is replaced
	Version  string                     // resourceVersion that the apply gave it; empty: unchanged
	Live     *unstructured.Unstructured // as it is now, slim; nil: not known
}

// Applied is what an Apply did.
type Applied struct {
	Results []Result // in the order of the role's objects
	Set     Set

	parent   *unstructured.Unstructured // as it was before; nil: there was none
	extent   extent                     // of the objects that are wanted
	widened  bool                       // the parent still names more than that
	obsolete map[object.ID]Member       // to be pruned once everything is ready
}

// String counts the actions in one line: "2 configured, 1 unchanged".
func (a Applied) String() string {
	counts := map[release.Action]int{}
	for _, r := range a.Results {
		counts[r.Action]++
	}
	var parts []string
	for _, action := range []release.Action{release.ActionCreated, release.ActionConfigured, release.ActionReplaced, release.ActionPruned, release.ActionUnchanged} {
		if n := counts[action]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+string(action))
		}
	}
	return strings.Join(parts, ", ")
}

// Apply brings a role's objects into the cluster: namespaces first, then
// definitions of kinds, then what pods read, then workloads. An object that has not
// changed is not written. Objects that the role no longer has stay until Prune.
//
// The error names the object; a *ConflictError also the fields and their manager.
// What was applied before the error stays.
func Apply(ctx context.Context, c *client.Client, s State, o Options) (Applied, error) {
	obsolete, err := obsoleteIn(c, s, o.Roles)
	if err != nil {
		return Applied{}, err
	}
	r := &run{c: c, o: o, state: s, results: map[object.ID]Result{}}
	r.applied = Applied{Set: s.Set, parent: s.Inventory.parent, extent: extentOf(s.Objects), obsolete: obsolete}
	r.applied.extent.finished = s.Inventory.extent.finished.of(s.Objects)
	err = r.applyAll(ctx)
	for _, o := range s.Objects {
		if result, ok := r.results[o.ID]; ok {
			r.applied.Results = append(r.applied.Results, result)
		}
	}
	return r.applied, err
}
