package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// clusterTarget is the target of all roles that run in Kubernetes.
type clusterTarget struct {
	*kube.Cluster
	site     *site
	surveyed kube.Surveyed // by the last Preflight
}

func (c *clusterTarget) Preflight(ctx context.Context, rel release.Release, roles []release.Role) (_ []release.Finding, err error) {
	rel.Roles = roles
	c.surveyed, err = c.Cluster.Preflight(ctx, rel, c.preflight())
	return c.surveyed.Findings, err
}

func (c *clusterTarget) preflight() kube.PreflightOptions {
	o := kube.PreflightOptions{
		App: c.site.cfg.App, Namespace: c.site.namespace(), Probes: slices.ContainsFunc(c.site.cfg.Roles, asksHTTP), CanPull: c.canPull,
		Platforms: c.site.registry.Platforms, Apply: map[string]kube.ApplyOptions{}, Tried: c.site.tried,
	}
	for _, r := range c.site.cfg.Roles {
		if r.Kubernetes != nil {
			o.Apply[r.Name] = c.applying(r.Name)
		}
	}
	return o
}

// canPull tries a pull secret as the kubelet would.
func (c *clusterTarget) canPull(ctx context.Context, ref string, dockerConfig []byte) error {
	if dockerConfig == nil {
		return c.site.registry.CanPull(ctx, ref, nil)
	}
	keychain, err := registry.KeychainFromDockerConfig(dockerConfig)
	if err != nil {
		return err
	}
	return c.site.registry.CanPull(ctx, ref, keychain)
}

// Prepare does nothing: nodes pull when a pod is scheduled.
func (c *clusterTarget) Prepare(context.Context, release.Role) error { return nil }

func (c *clusterTarget) Switch(ctx context.Context, rel release.Release, role release.Role) (release.Live, error) {
	c.site.report(release.Event{Phase: release.PhaseApply, Mark: release.MarkStart, Role: role.Name, Message: "apply " + release.ShortDigest(role.Digest)})
	how := c.applying(role.Name)
	how.Beside = rel.Roles
	if c.site.asSeen {
		how.Before = c.surveyed
	}
	applied, err := c.Apply(ctx, role, how)
	c.surveyed = c.surveyed.Without(role.Name)
	if err != nil {
		return release.Live{}, gaveUp(ctx, err)
	}
	c.site.report(release.Event{Phase: release.PhaseApply, Mark: release.MarkDone, Role: role.Name, Message: tally(applied)})
	c.site.report(release.Event{Phase: release.PhaseWait, Mark: release.MarkStart, Role: role.Name, Message: "wait for the new revision"})
	live, err := c.Wait(ctx, role, applied, kube.WaitOptions{Timeout: c.site.timeout, Progress: c.site.report})
	if err != nil {
		return live, gaveUp(ctx, err)
	}
	c.site.report(release.Event{Phase: release.PhaseWait, Mark: release.MarkDone, Role: role.Name, Message: "ready", Ready: live.Ready, Desired: live.Desired})
	return live, nil
}

func (c *clusterTarget) applying(role string) kube.ApplyOptions {
	o := kube.ApplyOptions{App: c.site.cfg.App, Force: c.site.force, Progress: c.site.report}
	if r, ok := c.site.cfg.Role(role); ok && r.Kubernetes != nil {
		o.Namespace, o.Conflicts = r.Kubernetes.Namespace, r.Kubernetes.Conflicts
	}
	return o
}

// gaveUp gives an error (nil stays nil) that came of the rollout's own limit the limit's cause.
func gaveUp(ctx context.Context, err error) error {
	var failure *release.Failure
	if err == nil || errors.As(err, &failure) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &failure) {
		return failure
	}
	return err
}

// tally is what an apply did, in one line: "2 configured, 1 unchanged".
func tally(a kube.Applied) string {
	counts := map[kube.Action]int{}
	for _, r := range a.Results {
		counts[r.Action]++
	}
	var parts []string
	for _, action := range []kube.Action{kube.Created, kube.Configured, kube.Replaced, kube.Pruned, kube.Unchanged} {
		if n := counts[action]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+string(action))
		}
	}
	return strings.Join(parts, ", ")
}

func (c *clusterTarget) Observe(ctx context.Context, role release.Role) (release.Live, error) {
	return c.Cluster.Observe(ctx, role)
}

func (c *clusterTarget) Drift(ctx context.Context, role release.Role) ([]release.Drift, error) {
	return c.Cluster.Drift(ctx, role, c.applying(role.Name))
}

// Withdraw does nothing: the pods of a first release that failed are its evidence.
func (c *clusterTarget) Withdraw(context.Context, release.Role) error { return nil }

func (c *clusterTarget) Diff(ctx context.Context, rel release.Release, role release.Role) ([]change, []release.Finding, error) {
	how := c.applying(role.Name)
	how.Before, how.Beside = c.surveyed, rel.Roles
	plan, err := c.Cluster.Diff(ctx, role, how)
	if err != nil {
		return nil, nil, err
	}
	changes := make([]change, 0, len(plan.Changes))
	for _, ch := range plan.Changes {
		changes = append(changes, change{Role: role.Name, Object: ch.Object.String(), Action: string(ch.Action), Diff: strings.Join(ch.Lines, "\n")})
	}
	return changes, plan.Findings, nil
}

func (c *clusterTarget) Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error) {
	out := kube.Request{Method: req.Method, Path: req.URL.RequestURI(), Headers: map[string]string{}}
	if port, err := strconv.Atoi(req.URL.Port()); err == nil {
		out.Port = port
	}
	for k := range req.Header {
		out.Headers[k] = req.Header.Get(k)
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		out.Body = string(body)
	}
	answer, err := c.Get(ctx, role, out)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)), Request: req}, nil
}

// Settled does nothing: the apply has pruned already.
func (c *clusterTarget) Settled(context.Context, release.Role, []release.Record) error { return nil }

func (c *clusterTarget) Close() error { return nil }

// namespace holds the ledger: that of the first role in Kubernetes, or "".
func (s *site) namespace() string {
	for _, r := range s.cfg.Roles {
		if r.Kubernetes != nil {
			return r.Kubernetes.Namespace
		}
	}
	return ""
}

// leastRoles are the RBAC objects that suffice for the release.
func (t *tree) leastRoles(rel release.Release) ([]byte, error) {
	var kubernetes []release.Role
	for _, r := range rel.Roles {
		if r.Target == release.TargetKubernetes {
			kubernetes = append(kubernetes, r)
		}
	}
	rel.Roles = kubernetes
	// The cluster is asked only for kinds that are not of Kubernetes itself.
	connection, err := kube.Connect(kube.Options{Kubeconfig: t.globals.kubeconfig, Context: t.globals.context, Progress: t.report})
	if err != nil {
		return nil, err
	}
	c := clusterTarget{Cluster: connection, site: t.site}
	return c.Rules(rel, c.preflight())
}

// sketch is the release without its images: enough to know what kinds it has.
func (t *tree) sketch(ctx context.Context) (release.Release, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		images[name] = pipeline.Image{Name: name, Digest: zeroDigest, Repository: t.cfg.Images[name].Repository}
	}
	return t.compose(ctx, images)
}

// sourceFiles reads the files of a commit for packages that know no context.
type sourceFiles struct {
	ctx context.Context // lives as long as the one call that it is passed to
	src pipeline.Source

	missing *[]*pipeline.MissingObjectError // takes what ReadFiles left out; nil: it is an error
}

func (f sourceFiles) ReadFile(path string) ([]byte, error) { return f.src.ReadFile(f.ctx, path) }

// ReadFiles goes on after a file that this clone does not hold, and notes it: only
// what goes into an image must be whole.
func (f sourceFiles) ReadFiles(paths []string, visit func(path string, content io.Reader) error) error {
	for {
		err := f.src.ReadFiles(f.ctx, paths, visit)
		var absent *pipeline.MissingObjectError
		if !errors.As(err, &absent) {
			return err
		}
		at := slices.Index(paths, absent.Path)
		if at < 0 || f.missing == nil {
			return err
		}
		*f.missing = append(*f.missing, absent)
		paths = paths[at+1:]
	}
}

func (f sourceFiles) List(dir string) ([]string, error) {
	var paths []string
	for _, file := range f.src.Entries(dir) {
		paths = append(paths, file.Path)
	}
	return paths, nil
}
