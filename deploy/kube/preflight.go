package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/release"
)

// PreflightOptions give what a preflight cannot know by itself.
type PreflightOptions struct {
	App       string
	Namespace string                  // of the lock and the records; default: that of the first object
	Apply     map[string]ApplyOptions // by role: how it will be applied
	Tried     bool                    // Diff has the server try the objects; the preflight need not
	Probes    bool                    // pods will be asked by Get
	// CanPull tries to read an image's manifest by reference with the content of a
	// pull secret, nil for none. A nil func skips the check.
	CanPull func(ctx context.Context, ref string, dockerConfigJSON []byte) error
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
}

// Preflight finds what would make the release fail, before anything changes:
// what pods name and is not there, images that cannot be pulled or run, nodes
// and quotas without room, what the caller may not do, and what the server says
// to a dry run. All is asked at the same time. What cannot be looked at for want
// of a permission is a warning.
func (c *Cluster) Preflight(ctx context.Context, rel release.Release, o PreflightOptions) (Surveyed, error) {
	s, err := c.survey(rel, o)
	if err != nil || len(s.parts) == 0 {
		return Surveyed{}, err
	}
	began := time.Now()
	group, gctx := errgroup.WithContext(ctx)
	for i := range s.parts {
		s.parts[i].stock = sync.OnceValues(func() (inventory, error) { return s.take(gctx, s.parts[i]) })
	}
	checks := []func(context.Context) error{s.access, s.references, s.pulls, s.nodes, s.quotas, s.admission, s.budgets, s.objects, s.prunes}
	for _, check := range checks {
		group.Go(func() error { return check(gctx) })
	}
	for _, p := range s.parts {
		group.Go(func() error { _, err := p.stock(); return err })
	}
	if err := group.Wait(); err != nil {
		return Surveyed{}, err
	}
	return Surveyed{Findings: s.sorted(), parts: s.parts, at: began}, nil
}

func (c *Cluster) survey(rel release.Release, o PreflightOptions) (*survey, error) {
	s := &survey{c: c, o: o, own: map[ID]*object{}, reads: map[ID]*reading{}, shelves: map[shelf]*shelfReading{}}
	for _, role := range rel.Roles {
		if role.Target != release.TargetKubernetes {
			continue
		}
		if err := s.add(role); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// survey is one Preflight under way.
type survey struct {
	c     *Cluster
	o     PreflightOptions
	parts []part
	own   map[ID]*object // what the release itself brings

	mu       sync.Mutex
	findings []release.Finding
	refused  []release.Finding // by dry runs
	reads    map[ID]*reading
	shelves  map[shelf]*shelfReading
}

// part is one role with what of it makes pods.
type part struct {
	role    release.Role
	objects []*object
	pods    []template
	stock   func() (inventory, error) // what the cluster has of it, read once
}

// template is the pod of one workload.
type template struct {
	object   *object
	meta     map[string]string // labels
	spec     corev1.PodSpec
	pod      corev1.PodTemplateSpec
	replicas int
}

func (s *survey) add(role release.Role) error {
	objects, err := s.c.parsed(role)
	if err != nil {
		return err
	}
	p := part{role: role, objects: objects}
	for _, o := range objects {
		s.own[o.id] = o
		t, ok, err := templateOf(o)
		if err != nil {
			return err
		}
		if ok {
			p.pods = append(p.pods, t)
		}
	}
	s.parts = append(s.parts, p)
	return nil
}

// templateOf reads the pod that a workload makes; false if it makes none.
func templateOf(o *object) (template, bool, error) {
	raw := podTemplate(o.body)
	if raw == nil && o.id.Kind == "Pod" && o.id.Group == "" {
		raw = o.body.Object
	}
	if raw == nil {
		return template{}, false, nil
	}
	t := template{object: o, replicas: askedFor(o.body)}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &t.pod); err != nil {
		if !o.kind.builtin {
			return template{}, false, nil // it only looks like one
		}
		return template{}, false, fmt.Errorf("%s: %w", o.id, err)
	}
	t.spec, t.meta = t.pod.Spec, t.pod.Labels
	return t, true, nil
}

// find adds a finding.
func (s *survey) find(f release.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.findings {
		if known.Code == f.Code && known.Object == f.Object && known.Message == f.Message {
			return
		}
	}
	s.findings = append(s.findings, f)
}

// sorted are all findings. What a dry run says is left out where another check,
// which has more to say, has found it too.
func (s *survey) sorted() []release.Finding {
	others := s.findings
	for _, f := range s.refused {
		if !slices.ContainsFunc(others, func(o release.Finding) bool { return o.Code == f.Code }) {
			s.find(f)
		}
	}
	sort.SliceStable(s.findings, func(i, j int) bool {
		a, b := s.findings[i], s.findings[j]
		if a.Severity != b.Severity {
			return a.Severity == release.Refuses
		}
		return a.Role+string(a.Code)+a.Object+a.Message < b.Role+string(b.Code)+b.Object+b.Message
	})
	return s.findings
}

// reading is one object, read once for all that ask for it.
type reading struct {
	once sync.Once
	live *unstructured.Unstructured // nil: there is none
	err  error                      // a *ForbiddenError: it may not be looked at
}

// read gives an object as it will be: the release's own, else the live one. nil
// says that there is none.
func (s *survey) read(ctx context.Context, id ID) (*unstructured.Unstructured, error) {
	if o, ok := s.own[id]; ok {
		return o.body, nil
	}
	s.mu.Lock()
	r := s.reads[id]
	if r == nil {
		r = &reading{}
		s.reads[id] = r
	}
	s.mu.Unlock()
	r.once.Do(func() {
		k, ok, err := s.c.kinds.any(schema.GroupKind{Group: id.Group, Kind: id.Kind})
		if err != nil || !ok {
			r.err = err
			return
		}
		r.live, r.err = s.c.fetch(ctx, k, id.Namespace, id.Name)
		if apierrors.IsNotFound(r.err) {
			r.live, r.err = nil, nil
		}
	})
	return r.live, r.err
}

// setOf is the ApplySet of a part.
func (s *survey) setOf(p part) applySet { return newApplySet(s.o.App, p.role.Name, s.home(p)) }

// home is the namespace of the parent of a part's ApplySet.
func (s *survey) home(p part) string { return homeOf(s.o.Apply[p.role.Name].Namespace, p.objects) }

// take reads what the cluster has of a part. Where the caller may not look there
// is nothing, and that is a finding.
func (s *survey) take(ctx context.Context, p part) (inventory, error) {
	inv, err := s.c.take(ctx, s.setOf(p), p.objects)
	var forbidden *ForbiddenError
	if errors.As(s.c.explain(err), &forbidden) {
		s.find(release.Finding{Code: release.CodeForbidden, Severity: release.Refuses, Fixed: true, Message: forbidden.Error(), Hint: forbidden.Hint()})
		return inventory{}, nil
	}
	if err != nil {
		return inventory{}, fmt.Errorf("read what role %s has: %w", p.role.Name, err)
	}
	return inv, nil
}

// shelfReading is what the cluster has of the release's workloads of one kind in
// one namespace, read once for all that ask for it.
type shelfReading struct {
	once  sync.Once
	found map[ID]*unstructured.Unstructured
	err   error
}

// live is a workload as it is in the cluster, nil if it is not there; known is
// false if the caller may not look, which is a finding of its own.
func (s *survey) live(ctx context.Context, p part, o *object) (live *unstructured.Unstructured, known bool, err error) {
	inv, err := p.stock()
	if m, ok := inv.members[o.id]; ok || err != nil {
		return m.live, err == nil, err
	}
	// It is not there, or is no member yet.
	at := shelf{o.kind, o.id.Namespace}
	s.mu.Lock()
	r := s.shelves[at]
	if r == nil {
		r = &shelfReading{found: map[ID]*unstructured.Unstructured{}}
		s.shelves[at] = r
	}
	s.mu.Unlock()
	r.once.Do(func() {
		var wanted []*object
		for _, p := range s.parts {
			for _, t := range p.pods {
				if t.object.kind == at.kind && t.object.id.Namespace == at.namespace {
					wanted = append(wanted, t.object)
				}
			}
		}
		list, err := s.c.readShelf(ctx, at, wanted)
		for _, u := range list {
			r.found[idOf(u)] = u
		}
		r.err = err
	})
	var forbidden *ForbiddenError
	if errors.As(r.err, &forbidden) {
		return nil, false, nil
	}
	return r.found[o.id], r.err == nil, r.err
}

// eachPod calls check for the pod of every workload, several at a time.
func (s *survey) eachPod(ctx context.Context, check func(context.Context, part, template) error) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range s.parts {
		for _, t := range p.pods {
			group.Go(func() error { return check(gctx, p, t) })
		}
	}
	return group.Wait()
}

// namespaces are those in which the release has objects, without those that it
// brings itself.
func (s *survey) namespaces() []string {
	seen := map[string]bool{}
	for id := range s.own {
		if id.Namespace != "" && s.own[ID{Kind: "Namespace", Name: id.Namespace}] == nil {
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
