// Package deploy carries a release to everything that runs it and back again:
// plan, preflight, roll, restore, status, verify. It knows what a release is and
// in which order things happen; how a role is run is a Target's business, where
// records are stored is the ledger's.
package deploy

import (
	"context"
	"io"
	"net/http"

	"github.com/joelhooks/shipit/release"
)

// Target runs the roles of one app on one kind of platform: a cluster, or the
// machines that the configuration names. It is safe for concurrent use, and
// holds no state of a run: what a preflight read is the Snapshot that it returns.
type Target interface {
	// Preflight reports what would stop the roles of a release or trouble them. It
	// changes nothing. dryRun says that Compare is called for every role as well, so
	// that nothing need be tried twice.
	Preflight(ctx context.Context, rel release.Release, roles []release.Role, dryRun bool) (Preflight, error)
	// Prepare brings what the role needs to where it will run; what runs is not touched.
	// It returns the role with its Files, as the record is to tell them.
	Prepare(ctx context.Context, role release.Role) (release.Role, error)
	// Adopt reads what runs where a role is to run that was never released, so that
	// Switch can bring it back: the objects or the service as they are found. It changes
	// nothing. No secret is in what it returns, but for those that its Findings name.
	Adopt(ctx context.Context, step Step) (Adoption, error)
	// Switch makes the role run and waits until it does. A *release.Failure says
	// that it never will, with the cause.
	Switch(ctx context.Context, step Step) (release.Live, error)
	// Compare reads what runs for a role and finds what of it is not as the release
	// states it. It changes nothing. The plan, the end of a rollout and the status
	// all ask it, and so they cannot contradict each other.
	Compare(ctx context.Context, step Step) (Comparison, error)
	// Remove takes away what a role of an earlier release has and no role of keep
	// has. What holds data stays, and is reported.
	Remove(ctx context.Context, role release.Role, keep release.Release) error
	// Undo takes back the switch of a role of a first release that failed: no release
	// is there to go back to. What shows why it failed may stay.
	Undo(ctx context.Context, role release.Role) error
	// Prune drops what no good release of the role needs any more. records gives all
	// that the ledger holds, newest first.
	Prune(ctx context.Context, role release.Role, records func() ([]release.Record, error)) error
	// Reach is how a role can be reached, as its objects tell it; no target is asked.
	Reach(role release.Role) Reach
	// Do sends an HTTP request to the role itself; the URL holds port, path and query.
	Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error)
	// Mask returns what hides, in what the role says, the values of the secrets that
	// it is given. The error says that they cannot be read.
	Mask(ctx context.Context, role release.Role) (func(string) string, error)
	io.Closer
}

// Comparison is how what runs differs from a role as a release states it.
type Comparison struct {
	Live     release.Live
	Changes  []Change          // what Switch would change
	Findings []release.Finding // what of that would be refused
	Failure  *release.Failure  // why the role is down, if that is known
	Present  bool              // something of the role is there, running or not
}

// Reach is how a role can be reached from elsewhere.
type Reach struct {
	Env   map[string]string // of its processes, as far as its objects say it
	Hosts []string          // host:port of its Services or its machine, the likeliest first; none: not known
}

// Preflight is what a target found before anything was changed.
type Preflight struct {
	Findings []release.Finding
	Snapshot Snapshot
}

// Snapshot is what a target read in its preflight, in a form that only the same
// target understands; nil is nothing. It holds until another run may have
// written, so that what was read need not be read again.
type Snapshot any

// Step is the switch of one role of a release.
type Step struct {
	Release  release.Release // the whole: an object may move from one role to another
	Role     release.Role
	Snapshot Snapshot // of the preflight; nil: read again
	Force    bool     // take over fields that other managers hold
	Whole    bool     // of Compare: read content byte by byte, where it is else told by its sizes and times
}

// Change is one object that a release would create, alter or remove.
type Change struct {
	Role   string                `json:"role"`
	Object string                `json:"object"`
	Action release.Action        `json:"action"`
	Fields []release.FieldChange `json:"fields,omitempty"` // that differ, where the target tells them
}
