package kube

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// ApplyOptions say how a role is applied.
type ApplyOptions struct {
	App       string // names the ApplySet, together with the role
	Namespace string // holds the ApplySet's parent; default: that of the role's first object in one
	// Conflicts is what to do about fields that another manager owns, by the
	// manager's name: "force" takes them, "cede" leaves them alone. Others
	// refuse. Replicas that an autoscaler holds are always ceded.
	Conflicts map[string]string
	Force     bool // take every field in conflict
	DryRun    bool // let the server try, and change nothing
	Progress  release.Progress
}

// Action is what became of one object.
type Action string

const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Pruned     Action = "pruned"
	Replaced   Action = "replaced" // deleted and made again: a Job whose template changed
)

// Result is what became of one object.
type Result struct {
	Object ID
	Action Action
}

// String is the log line: Deployment joelclaw/worker configured.
func (r Result) String() string { return r.Object.String() + " " + string(r.Action) }

// Applied is what an Apply did. Wait takes it.
type Applied struct {
	Results []Result // in the order of the role's objects
}

// Changed reports whether anything was written.
func (a Applied) Changed() bool {
	for _, r := range a.Results {
		if r.Action != Unchanged {
			return true
		}
	}
	return false
}

// Apply brings the role's objects into the cluster.
func (c *Cluster) Apply(ctx context.Context, role release.Role, o ApplyOptions) (Applied, error) {
	panic("being written")
}
