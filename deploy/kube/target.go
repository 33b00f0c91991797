// Package kube is a cluster as a deploy.Target: every role of an app that the
// configuration places in Kubernetes. It puts together what its packages do:
//
//	object     rendered and live objects, read without a cluster
//	client     requests to one API server, and errors that can be told apart
//	compare    what differs between a wanted object and the live one
//	preflight  what would stop a release, before anything changes
//	apply      server-side apply, dry run and pruning, by ApplySet
//	rollout    waiting by watches, and the evidence of a failure
//	diagnose   from status and events to the cause of a failure
//	store      the ledger's records and lock in the cluster
package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/release"
)

var _ deploy.Target = (*Target)(nil)

// defaultTimeout is how long a rollout may take if nothing else is said.
const defaultTimeout = 5 * time.Minute

// Options say which cluster is meant, and what a Target cannot do by itself. The
// zero value is what kubectl would use: KUBECONFIG, ~/.kube/config, or the service
// account of the pod.
type Options struct {
	Kubeconfig string
	Context    string
	Timeout    time.Duration    // of one rollout; default 5 minutes
	Progress   release.Progress // receives the progress and the server's warnings; nil drops them
	// CanPull tries to read an image's manifest by reference with the content of a
	// pull secret, nil for none. A nil func skips the check.
	CanPull func(ctx context.Context, ref string, dockerConfigJSON []byte) error
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
}

// Target is the deploy.Target of every role of an app that the configuration
// places in Kubernetes, and of those that only earlier releases have there.
type Target struct {
	client  *client.Client
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
	return t, t.client.Ping(ctx)
}

func newTarget(cfg config.Config, o Options) (*Target, error) {
	c, err := client.Connect(client.Options{Kubeconfig: o.Kubeconfig, Context: o.Context, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	return &Target{client: c, cfg: cfg, options: o}, nil
}

// MinimalRBAC is the RBAC, as YAML, that suffices to carry out rel and to roll it
// back. The cluster is asked only for kinds that are not Kubernetes' own.
func MinimalRBAC(cfg config.Config, o Options, rel release.Release) ([]byte, error) {
	t, err := newTarget(cfg, o)
	if err != nil {
		return nil, err
	}
	roles, err := t.preflightRoles(inKubernetes(rel))
	if err != nil {
		return nil, err
	}
	return preflight.MinimalRBAC(t.client, roles, t.preflightOptions())
}

// Permissions finds which permissions the caller lacks to carry out rel.
func (t *Target) Permissions(ctx context.Context, rel release.Release) ([]release.Finding, error) {
	roles, err := t.preflightRoles(inKubernetes(rel))
	if err != nil {
		return nil, err
	}
	return preflight.Permissions(ctx, t.client, roles, t.preflightOptions())
}

func inKubernetes(rel release.Release) []release.Role {
	return slices.DeleteFunc(slices.Clone(rel.Roles), func(r release.Role) bool { return r.Target != release.TargetKubernetes })
}

// Clock is the time by the API server.
func (t *Target) Clock(ctx context.Context) (time.Time, error) { return t.client.Clock(ctx) }

// Store keeps the ledger of the app, by default in the namespace of its first role in
// Kubernetes. A namespace that does not exist is made with the first lock: Preflight
// refuses what does not bring it.
func (t *Target) Store() *store.Store {
	return store.New(t.client, t.namespace(), t.cfg.App).MakingNamespace()
}

// namespace is that of the ledger; empty if no role is in Kubernetes.
func (t *Target) namespace() string {
	if t.cfg.Ledger != "" {
		return t.cfg.Ledger
	}
	for _, r := range t.cfg.Roles {
		if r.Kubernetes != nil {
			return r.Kubernetes.Namespace
		}
	}
	return ""
}

// placement is where a role is in the cluster, and by which settings it is put there.
type placement struct {
	namespace string // of the parent of its ApplySet
	policy    compare.Policy
}

// placed is where a role is. For a role that is no longer in shipit.yaml, or no longer
// in Kubernetes there, everything comes from the record except the setting conflicts,
// which is then the default.
func (t *Target) placed(role release.Role, force bool) (placement, error) {
	p := placement{policy: compare.Policy{Force: force}}
	if r, ok := t.cfg.Role(role.Name); ok && r.Kubernetes != nil {
		p.namespace, p.policy.Managers = r.Kubernetes.Namespace, r.Kubernetes.Conflicts
	}
	var err error
	p.namespace, err = apply.ParentNamespace(t.cfg.App, role, p.namespace)
	return p, err
}

// Preflight asks the cluster, without changing it, for everything that would stop
// the roles or trouble them.
func (t *Target) Preflight(ctx context.Context, rel release.Release, roles []release.Role, dryRun bool) (deploy.Preflight, error) {
	checked, err := t.preflightRoles(roles)
	if err != nil {
		return deploy.Preflight{}, fmt.Errorf("%s: %w", rel.ID(), err)
	}
	o := t.preflightOptions()
	o.DryRun = dryRun
	result, err := preflight.Run(ctx, t.client, checked, o)
	if err != nil {
		return deploy.Preflight{}, err
	}
	return deploy.Preflight{Findings: result.Findings, Snapshot: result.Snapshot}, nil
}

func (t *Target) preflightRoles(roles []release.Role) ([]preflight.Role, error) {
	var out []preflight.Role
	for _, role := range roles {
		p, err := t.placed(role, false)
		if err != nil {
			return nil, err
		}
		out = append(out, preflight.Role{Role: role, Namespace: p.namespace, Policy: p.policy})
	}
	return out, nil
}

func (t *Target) preflightOptions() preflight.Options {
	elsewhere := func(ctx context.Context) ([]preflight.Records, error) {
		found, err := t.Store().Elsewhere(ctx)
		var out []preflight.Records
		for _, r := range found {
			out = append(out, preflight.Records{Namespace: r.Namespace, Newest: r.Newest, Same: r.Environment == t.cfg.Environment})
		}
		return out, err
	}
	return preflight.Options{App: t.cfg.App, Namespace: t.namespace(), Probes: slices.ContainsFunc(t.cfg.Roles, config.Role.AnswersHTTP),
		Timeout: t.options.Timeout, Elsewhere: elsewhere, CanPull: t.options.CanPull, Platforms: t.options.Platforms}
}

// Prepare does nothing: a node pulls the image when a pod is scheduled there.
func (t *Target) Prepare(_ context.Context, role release.Role) (release.Role, error) {
	return role, nil
}

// Remove takes away the ApplySet of a role of an earlier release, if no role of keep
// has it: the role is gone, has another name or lives in another namespace. What holds
// data stays, and is reported.
func (t *Target) Remove(ctx context.Context, role release.Role, keep release.Release) error {
	gone, err := t.roleSet(role)
	if err != nil {
		return err
	}
	var present []apply.RoleSet
	for _, r := range keep.Roles {
		if r.Target != release.TargetKubernetes {
			continue
		}
		k, err := t.roleSet(r)
		if err != nil {
			return err
		}
		present = append(present, k)
	}
	removed, err := apply.Remove(ctx, t.client, gone, present, t.options.Progress)
	if err != nil || !removed {
		return err
	}
	running, err := podsOfRelease(keep, "", nil)
	if err != nil {
		return err
	}
	return t.awaitTraffic(ctx, trafficWait{role: role.Name, running: running, services: running.services, gone: role.Name})
}

// Undo changes nothing: the pods of a failed first release show why it failed.
func (t *Target) Undo(context.Context, release.Role) error { return nil }

func (t *Target) roleSet(role release.Role) (apply.RoleSet, error) {
	p, err := t.placed(role, false)
	if err != nil {
		return apply.RoleSet{}, err
	}
	return apply.RoleSetOf(t.cfg.App, role, p.namespace)
}

// Prune does nothing: Switch has pruned already, and nodes delete old images themselves.
func (t *Target) Prune(context.Context, release.Role, func() ([]release.Record, error)) error {
	return nil
}

// Do sends the request to the newest ready pod of the role, by way of the API
// server's pod proxy: the newest, so that it is of the new revision.
func (t *Target) Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error) {
	pod, err := newestPod(ctx, t.client, role)
	if err != nil {
		return nil, err
	}
	answer, err := t.client.AskPod(ctx, pod.Namespace, pod.Name, req)
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return answer, nil
}

// Close does nothing: the connections close by themselves when they are idle.
func (t *Target) Close() error { return nil }
