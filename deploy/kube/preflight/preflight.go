// Package preflight finds, before anything changes, what would stop the roles of a
// release in a cluster or trouble them: what pods refer to and is missing, images that
// cannot be pulled or run, nodes and quotas without capacity, permissions that the
// caller lacks, and what the server says to a dry run.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Role is one role that will be applied.
type Role struct {
	release.Role
	Namespace string // of the parent of the role's ApplySet
	Policy    compare.Policy
}

// Options give what a preflight cannot know by itself.
type Options struct {
	App       string
	Namespace string        // of the lock and the records; default: that of the first role
	DryRun    bool          // apply.Diff tries every object as well: the preflight need not
	Probes    bool          // pods will be asked through the API server
	Timeout   time.Duration // of one rollout; 0 skips the check
	// Elsewhere finds the records of the app in other namespaces, if it has none in
	// Namespace. A nil func skips the check.
	Elsewhere func(ctx context.Context) ([]Records, error)
	// CanPull tries to read an image's manifest by reference with the content of a
	// pull secret, nil for none. A nil func skips the check.
	CanPull func(ctx context.Context, ref string, dockerConfigJSON []byte) error
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
}

// Result is what a preflight found and what it read.
type Result struct {
	Findings []release.Finding
	Snapshot *Snapshot
}

// Run makes all checks at the same time. What cannot be read for want of a
// permission is a warning.
func Run(ctx context.Context, c *client.Client, roles []Role, o Options) (Result, error) {
	r, err := newRun(c, roles, o)
	if err != nil || len(r.roles) == 0 {
		return Result{}, err
	}
	began := time.Now()
	group, gctx := errgroup.WithContext(ctx)
	for _, role := range r.roles {
		role.state = sync.OnceValues(func() (apply.State, error) { return r.readState(gctx, role) })
	}
	checks := []func(context.Context) error{r.permissions, r.references, r.images, r.nodes, r.quotas, r.admission, r.budgets, r.updatesByHand,
		r.dryRuns, r.prunePermissions, r.owners, r.records, r.timeouts}
	for _, check := range checks {
		group.Go(func() error { return check(gctx) })
	}
	for _, role := range r.roles {
		group.Go(func() error { _, err := role.state(); return err })
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	return Result{Findings: r.sorted(), Snapshot: newSnapshot(r.roles, began)}, nil
}

// run is one preflight under way.
type run struct {
	c       *client.Client
	o       Options
	roles   []*role
	brought map[object.ID]*object.Object // what the release itself brings

	mu       sync.Mutex
	findings []release.Finding
	refused  []release.Finding // by dry runs
	reads    map[object.ID]*objectRead
	lists    map[collection]*workloadRead
}

// role is one role with its workloads.
type role struct {
	Role
	set       apply.Set
	objects   []*object.Object
	workloads []workload
	state     func() (apply.State, error) // read once; its inventory has no members if it may not be read
}

// workload is an object that creates pods, with the pod that it creates.
type workload struct {
	*object.Object
	pod      corev1.PodTemplateSpec
	replicas int
}

func newRun(c *client.Client, roles []Role, o Options) (*run, error) {
	r := &run{c: c, o: o, brought: map[object.ID]*object.Object{}, reads: map[object.ID]*objectRead{}, lists: map[collection]*workloadRead{}}
	for _, role := range roles {
		if err := r.add(role); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *run) add(given Role) error {
	objects, err := r.c.Parse(given.Role)
	if err != nil {
		return err
	}
	added := &role{Role: given, objects: objects, set: apply.SetOf(r.o.App, given.Name, given.Namespace, objects)}
	for _, o := range objects {
		r.brought[o.ID] = o
		w, ok, err := workloadOf(o)
		if err != nil {
			return err
		}
		if ok {
			added.workloads = append(added.workloads, w)
		}
	}
	r.roles = append(r.roles, added)
	return nil
}

// workloadOf reads the pod that an object creates or is; false if there is none.
func workloadOf(o *object.Object) (workload, bool, error) {
	raw := object.PodTemplate(o.Body)
	if raw == nil && o.ID.IsPod() {
		raw = o.Body.Object
	}
	if raw == nil {
		return workload{}, false, nil
	}
	w := workload{Object: o, replicas: object.Replicas(o.Body)}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &w.pod); err != nil {
		if !o.Kind.Builtin {
			return workload{}, false, nil // its template is not one of pods
		}
		return workload{}, false, fmt.Errorf("%s: %w", o.ID, err)
	}
	return w, true, nil
}

// eachWorkload calls check for every workload, several at a time.
func (r *run) eachWorkload(ctx context.Context, check func(context.Context, *role, workload) error) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for _, role := range r.roles {
		for _, w := range role.workloads {
			group.Go(func() error { return check(gctx, role, w) })
		}
	}
	return group.Wait()
}

// found adds a finding, once.
func (r *run) found(f release.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range r.findings {
		if known.Code == f.Code && known.Object == f.Object && known.Message == f.Message {
			return
		}
	}
	r.findings = append(r.findings, f)
}

// refuse adds what the server would refuse, by a dry run.
func (r *run) refuse(findings ...release.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, findings...)
}

// releaseRoles are the roles as the release has them.
func (r *run) releaseRoles() []release.Role {
	out := make([]release.Role, 0, len(r.roles))
	for _, role := range r.roles {
		out = append(out, role.Role.Role)
	}
	return out
}

// sorted are all findings. What a dry run says is left out where another check,
// which has more to say, has found it too.
func (r *run) sorted() []release.Finding {
	others := r.findings
	for _, f := range r.refused {
		if !slices.ContainsFunc(others, func(o release.Finding) bool { return o.Code == f.Code }) {
			r.found(f)
		}
	}
	key := func(f release.Finding) string { return f.Role + string(f.Code) + f.Object + f.Message }
	sort.SliceStable(r.findings, func(i, j int) bool {
		a, b := r.findings[i], r.findings[j]
		if a.Severity != b.Severity {
			return a.Severity == release.Refuses
		}
		return key(a) < key(b)
	})
	return r.findings
}

// namespaces are those in which the release has objects, without those that it
// brings itself.
func (r *run) namespaces() []string {
	seen := map[string]bool{}
	for id := range r.brought {
		if id.Namespace != "" && r.brought[object.ID{Kind: "Namespace", Name: id.Namespace}] == nil {
			seen[id.Namespace] = true
		}
	}
	out := make([]string, 0, len(seen))
	for ns := range seen {
		out = append(out, ns)
	}
	sort.Strings(out)
	return out
}
