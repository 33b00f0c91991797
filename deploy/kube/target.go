package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

var _ deploy.Target = (*Target)(nil)

// Target is the deploy.Target of every role of an app that the configuration
// places in Kubernetes. A role that the configuration does not place there is an
// error.
type Target struct {
	cluster *Cluster
	cfg     config.Config
	options Options
}

// Open connects to the cluster and asks it for its version, so that a cluster that
// cannot be used is an error before anything has happened.
func Open(ctx context.Context, cfg config.Config, o Options) (*Target, error) {
	t, err := newTarget(cfg, o)
	if err != nil {
		return nil, err
	}
	return t, t.cluster.Ping(ctx)
}

func newTarget(cfg config.Config, o Options) (*Target, error) {
	c, err := Connect(o)
	if err != nil {
		return nil, err
	}
	return &Target{cluster: c, cfg: cfg, options: o}, nil
}

// LeastRoles is the RBAC, as YAML, that suffices to carry out rel and to roll it
// back. The cluster is asked only for kinds that are not Kubernetes' own.
func LeastRoles(cfg config.Config, o Options, rel release.Release) ([]byte, error) {
	t, err := newTarget(cfg, o)
	if err != nil {
		return nil, err
	}
	rel.Roles = slices.DeleteFunc(slices.Clone(rel.Roles), func(r release.Role) bool { return r.Target != release.TargetKubernetes })
	preflight, err := t.preflightOptions(rel.Roles)
	if err != nil {
		return nil, err
	}
	return t.cluster.Rules(rel, preflight)
}

// Store keeps the ledger of the app in the namespace of its first role in Kubernetes.
func (t *Target) Store() *Store { return NewStore(t.cluster, t.namespace(), t.cfg.App) }

// namespace is that of the first role in Kubernetes; empty if there is none.
func (t *Target) namespace() string {
	for _, r := range t.cfg.Roles {
		if r.Kubernetes != nil {
			return r.Kubernetes.Namespace
		}
	}
	return ""
}

// placed are the settings of a role under `kubernetes:`.
func (t *Target) placed(role release.Role) (*config.Kubernetes, error) {
	r, ok := t.cfg.Role(role.Name)
	switch {
	case !ok:
		return nil, fmt.Errorf("role %s is not in %s", role.Name, t.cfg.Path)
	case r.Kubernetes == nil:
		return nil, fmt.Errorf("role %s does not run in Kubernetes any more, by %s", role.Name, t.cfg.Path)
	}
	return r.Kubernetes, nil
}

func (t *Target) applyOptions(role release.Role) (ApplyOptions, error) {
	placed, err := t.placed(role)
	if err != nil {
		return ApplyOptions{}, err
	}
	return ApplyOptions{App: t.cfg.App, Namespace: placed.Namespace, Conflicts: placed.Conflicts, Progress: t.options.Progress}, nil
}

func (t *Target) preflightOptions(roles []release.Role) (PreflightOptions, error) {
	o := PreflightOptions{App: t.cfg.App, Namespace: t.namespace(), Apply: map[string]ApplyOptions{},
		Probes: slices.ContainsFunc(t.cfg.Roles, probesHTTP), CanPull: t.options.CanPull, Platforms: t.options.Platforms}
	for _, role := range roles {
		apply, err := t.applyOptions(role)
		if err != nil {
			return PreflightOptions{}, err
		}
		o.Apply[role.Name] = apply
	}
	return o, nil
}

// probesHTTP reports whether a probe of the role sends it a request.
func probesHTTP(r config.Role) bool {
	return slices.ContainsFunc(r.AllProbes(), func(p config.Probe) bool { return p.Path != "" })
}

// snapshot is what a preflight read of every role. A Switch takes its role's part
// out, because after it the cluster has something else.
type snapshot struct {
	mu   sync.Mutex
	read Surveyed
}

// snapshotOf is the snapshot that a step carries; without one, nothing was read.
func snapshotOf(s deploy.Snapshot) *snapshot {
	if known, ok := s.(*snapshot); ok && known != nil {
		return known
	}
	return &snapshot{}
}

// see is what was read.
func (s *snapshot) see() Surveyed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// take is what was read of a role; the next to ask gets nothing.
func (s *snapshot) take(role string) Surveyed {
	s.mu.Lock()
	defer s.mu.Unlock()
	read := s.read
	s.read = read.Without(role)
	return read
}

// Preflight asks the cluster, without changing it, for everything that would stop
// the roles or trouble them.
func (t *Target) Preflight(ctx context.Context, rel release.Release, roles []release.Role, dryRun bool) (deploy.Preflight, error) {
	o, err := t.preflightOptions(roles)
	if err != nil {
		return deploy.Preflight{}, fmt.Errorf("%s: %w", rel.ID(), err)
	}
	o.Tried = dryRun
	rel.Roles = roles
	read, err := t.cluster.Preflight(ctx, rel, o)
	if err != nil {
		return deploy.Preflight{}, err
	}
	return deploy.Preflight{Findings: read.Findings, Snapshot: &snapshot{read: read}}, nil
}

// Prepare does nothing: a node pulls the image when a pod is scheduled there.
func (t *Target) Prepare(context.Context, release.Role) error { return nil }

// Switch applies the role's objects, waits until the new revision serves, and then
// deletes the objects that the role no longer has.
func (t *Target) Switch(ctx context.Context, step deploy.Step) (release.Live, error) {
	role := step.Role
	report := func(phase release.Phase, mark release.Mark, message string, live release.Live) {
		t.options.Progress.Report(release.Event{Phase: phase, Mark: mark, Role: role.Name, Message: message, Ready: live.Ready, Desired: live.Desired})
	}
	o, err := t.applyOptions(role)
	if err != nil {
		return release.Live{}, fmt.Errorf("%s: %w", step.Release.ID(), err)
	}
	o.Beside, o.Force, o.Before = step.Release.Roles, step.Force, snapshotOf(step.Snapshot).take(role.Name)
	report(release.PhaseApply, release.MarkStart, "apply "+release.ShortDigest(role.Digest), release.Live{})
	applied, err := t.cluster.Apply(ctx, role, o)
	if err != nil {
		return release.Live{}, limitOf(ctx, err)
	}
	report(release.PhaseApply, release.MarkDone, tally(applied), release.Live{})
	report(release.PhaseWait, release.MarkStart, "wait for the new revision", release.Live{})
	live, err := t.cluster.Wait(ctx, role, applied, WaitOptions{Timeout: t.options.Timeout, Progress: t.options.Progress})
	if err != nil {
		return live, limitOf(ctx, err)
	}
	report(release.PhaseWait, release.MarkDone, "ready", live)
	return live, nil
}

// limitOf is err, or the *release.Failure that the caller has given its time limit
// as the cause, if it was that limit that ended the work.
func limitOf(ctx context.Context, err error) error {
	var failure *release.Failure
	if errors.As(err, &failure) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &failure) {
		return failure
	}
	return err
}

// tally is what an apply did, in one line: "2 configured, 1 unchanged".
func tally(a Applied) string {
	counts := map[Action]int{}
	for _, r := range a.Results {
		counts[r.Action]++
	}
	var parts []string
	for _, action := range []Action{Created, Configured, Replaced, Pruned, Unchanged} {
		if n := counts[action]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+string(action))
		}
	}
	return strings.Join(parts, ", ")
}

// Compare lets the server try every object that is not as the release states it,
// and reads what the pods run.
func (t *Target) Compare(ctx context.Context, step deploy.Step) (deploy.Comparison, error) {
	o, err := t.applyOptions(step.Role)
	if err != nil {
		return deploy.Comparison{}, err
	}
	o.Beside, o.Force, o.Before = step.Release.Roles, step.Force, snapshotOf(step.Snapshot).see()
	var (
		seen deploy.Comparison
		plan Plan
	)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { seen.Live, err = t.cluster.Observe(gctx, step.Role); return err })
	group.Go(func() (err error) { plan, err = t.cluster.Diff(gctx, step.Role, o); return err })
	if err := group.Wait(); err != nil {
		return deploy.Comparison{}, err
	}
	created := 0
	for _, c := range plan.Changes {
		if c.Action == Created {
			created++
		}
		seen.Changes = append(seen.Changes, deploy.Change{Role: step.Role.Name, Object: c.Object.String(), Action: string(c.Action), Diff: strings.Join(c.Lines, "\n")})
	}
	seen.Findings, seen.Present = plan.Findings, created < len(step.Role.Objects)
	return seen, nil
}

// Remove does nothing: the pods of a first release that failed are its evidence.
func (t *Target) Remove(context.Context, release.Role, release.Release) error { return nil }

// Prune does nothing: Switch has pruned already, and old images are the nodes' affair.
func (t *Target) Prune(context.Context, release.Role, func() ([]release.Record, error)) error {
	return nil
}

// Do sends the request to the newest ready pod of the role, by way of the API
// server's pod proxy.
func (t *Target) Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error) {
	if _, err := t.placed(role); err != nil {
		return nil, err
	}
	out := Request{Method: req.Method, Path: req.URL.RequestURI(), Headers: map[string]string{}}
	if port, err := strconv.Atoi(req.URL.Port()); err == nil {
		out.Port = port
	}
	for name := range req.Header {
		out.Headers[name] = req.Header.Get(name)
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		out.Body = string(body)
	}
	answer, err := t.cluster.Get(ctx, role, out)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)), Request: req}, nil
}

// Close does nothing: the connections close by themselves when they are idle.
func (t *Target) Close() error { return nil }
