package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// site is everything that one command line reaches: the places where the roles
// run, the registry, and the ledger.
type site struct {
	cfg        config.Config
	globals    *globals
	reporter   *reporter
	registry   *registry.Client
	places     map[string]target // by role name
	cluster    *clusterTarget    // of those, the one of roles in Kubernetes; nil: there are none
	notary     *attest.Notary
	bundles    map[string][]byte // what fulfilled the policy, to be kept with the record
	ledger     *ledger.Ledger
	timeout    time.Duration
	noRestore  bool
	force      bool              // take fields of objects from other owners: allowed by name, or putting a release back
	tried      bool              // objects are tried one by one, as plan does: the checks need not
	held       *ledger.Lock      // once it was taken
	asSeen     bool              // the lock was taken as it was seen before the checks: what they read still stands
	records    []release.Record  // as last read; newest first
	registered map[string]string // by role: the answer that proved its registration
}

// openFile opens the site of a configuration file on disk: what status, history
// and rollback need, without git.
func openFile(ctx context.Context, g *globals) (*site, error) {
	cfg, err := config.Load(g.file(config.File), g.env)
	if err != nil {
		return nil, err
	}
	s, err := newSite(g, cfg)
	if err != nil {
		return nil, err
	}
	s.notarize(ctx, nil)
	return s, s.connect(ctx)
}

func newSite(g *globals, cfg config.Config) (*site, error) {
	rep, err := newReporter(g)
	if err != nil {
		return nil, err
	}
	g.about.App = cfg.App
	s := &site{cfg: cfg, globals: g, reporter: rep, timeout: cfg.Timeout.Or(5 * time.Minute), places: map[string]target{}, registered: map[string]string{}, bundles: map[string][]byte{}}
	if g.timeout > 0 {
		s.timeout = g.timeout
	}
	s.registry = registry.New(registry.Options{Progress: rep.report})
	return s, nil
}

// Close lets go of connections and ends the progress output.
func (s *site) Close() error {
	var errs []error
	seen := map[target]bool{}
	for _, t := range s.places {
		if !seen[t] {
			seen[t] = true
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(append(errs, s.reporter.Close())...)
}

func (s *site) now() time.Time               { return time.Now() }
func (s *site) report(e release.Event)       { s.reporter.report(e) }
func (s *site) target(r release.Role) target { return s.places[r.Name] }

func (s *site) lock(ctx context.Context) (*ledger.Lock, error) {
	lock, err := s.ledger.Lock(ctx, ledger.LockOptions{})
	s.held, s.asSeen = lock, err == nil && lock.AsSeen()
	return lock, err
}

func (s *site) unlock(l *ledger.Lock) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Release(ctx); err != nil {
		s.report(release.Event{Phase: release.PhaseLock, Mark: release.MarkNote, Message: "the lock was not released and will expire: " + oneLine(err.Error())})
	}
}

// refuse stops a release that cannot work, before the first write.
func (s *site) refuse(ctx context.Context, rel release.Release, judge judge, allow []release.Code) error {
	s.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkStart, Message: "check what could stop " + release.Short(rel.SHA)})
	var untrusted, findings []release.Finding
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { untrusted, err = s.trust(gctx, rel, judge); return err })
	group.Go(func() (err error) { findings, err = s.findings(gctx, rel); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	findings = slices.Concat(untrusted, probe.Validate(s.cfg), s.dropped(rel), findings)
	for _, f := range findings {
		if f.Severity == release.Warns || f.Allowable() && slices.Contains(allow, f.Code) {
			s.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkNote, Message: f.String()})
		}
	}
	if err := release.Refuse(findings, allow); err != nil {
		return err
	}
	s.force = slices.Contains(allow, release.CodeFieldConflict)
	s.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkDone, Message: "nothing stands in the way"})
	return nil
}

// dropped are the roles of the newest record that a release lacks: nothing will
// look after them.
func (s *site) dropped(rel release.Release) []release.Finding {
	if len(s.records) == 0 {
		return nil
	}
	var out []release.Finding
	for _, r := range s.records[0].Roles {
		if _, has := rel.Role(r.Name); !has {
			out = append(out, release.Finding{Code: release.CodeRoleDropped, Severity: release.Warns, Role: r.Name,
				Message: s.records[0].ID() + " has this role and the release has not: what it runs is left alone",
				Hint:    "delete by hand what nothing needs any more"})
		}
	}
	return out
}

// findings asks every place at once what would go wrong.
func (s *site) findings(ctx context.Context, rel release.Release) ([]release.Finding, error) {
	groups := map[target][]release.Role{}
	var order []target
	for _, role := range rel.Roles {
		t, ok := s.places[role.Name]
		if !ok {
			return nil, fmt.Errorf("role %s of %s is not in %s", role.Name, rel.ID(), s.cfg.Path)
		}
		if _, seen := groups[t]; !seen {
			order = append(order, t)
		}
		groups[t] = append(groups[t], role)
	}
	results := make([][]release.Finding, len(order))
	errs := make([]error, len(order))
	var wg sync.WaitGroup
	for i, t := range order {
		wg.Go(func() { results[i], errs[i] = t.Preflight(ctx, rel, groups[t]) })
	}
	wg.Wait()
	return slices.Concat(results...), errors.Join(errs...)
}

// observe reads what runs now; a place that cannot be read has nothing live.
func (s *site) observe(ctx context.Context, rel release.Release) map[string]release.Live {
	live, err := s.observeAll(ctx, rel)
	if err != nil {
		s.report(release.Event{Phase: release.PhaseVerify, Mark: release.MarkNote, Message: "read what runs: " + oneLine(err.Error())})
	}
	return live
}

// observeSince is observe for the roles of which what is known is older than since.
func (s *site) observeSince(ctx context.Context, rel release.Release, known map[string]release.Live, since time.Time) map[string]release.Live {
	stale := rel
	stale.Roles = slices.DeleteFunc(slices.Clone(rel.Roles), func(r release.Role) bool { return known[r.Name].At.After(since) })
	live := s.observe(ctx, stale)
	for _, r := range rel.Roles {
		if known[r.Name].At.After(since) {
			live[r.Name] = known[r.Name]
		}
	}
	return live
}

func (s *site) observeAll(ctx context.Context, rel release.Release) (map[string]release.Live, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	live := map[string]release.Live{}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs []error
	)
	for _, role := range rel.Roles {
		t, ok := s.places[role.Name]
		if !ok {
			continue // the configuration no longer names it: what it runs stays unknown
		}
		wg.Go(func() {
			l, err := t.Observe(ctx, role)
			mu.Lock()
			defer mu.Unlock()
			live[role.Name] = l
			if err != nil {
				errs = append(errs, fmt.Errorf("observe %s: %w", role.Name, err))
			}
		})
	}
	wg.Wait()
	return live, errors.Join(errs...)
}

// tidy lets every place drop what no good release needs any more.
func (s *site) tidy(ctx context.Context, record release.Record) {
	if !slices.ContainsFunc(record.Roles, func(r release.RoleRecord) bool { return r.Target == release.TargetHost }) {
		return // only machines keep releases
	}
	records, err := s.ledger.List(ctx)
	if err != nil {
		return // tidying waits for the next release
	}
	for _, r := range record.Roles {
		role := release.Role{Name: r.Name, Target: r.Target, Digest: r.Digest, Repository: r.Repository}
		if err := s.target(role).Settled(ctx, role, records); err != nil {
			s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Role: r.Name, Message: "tidy up: " + oneLine(err.Error())})
		}
	}
}

// ask sends a request to a role, for probes.
func (s *site) ask(role release.Role) func(context.Context, *http.Request) (*http.Response, error) {
	return func(ctx context.Context, req *http.Request) (*http.Response, error) {
		return s.target(role).Do(ctx, role, req)
	}
}
