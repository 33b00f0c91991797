package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// memory is a Target that runs roles as entries of a map. It stands in for a
// cluster or a machine, so that what the engine does can be tested without one;
// the stories of cmd/shipit run the same on real ones.
type memory struct {
	mu       sync.Mutex
	runs     map[string]string // digest by role
	calls    []string          // "switch cluster sha256:…", "remove worker", in order
	switches func(ctx context.Context, step deploy.Step) error
	prunes   func(ctx context.Context) error
	undoes   func(role release.Role) error
	changed  map[string][]deploy.Change    // objects that another hand changed, by role
	stuck    map[string]error              // roles that cannot be removed
	away     map[string]error              // roles that cannot be read
	stopped  map[string]bool               // roles of which no instance is ready
	secret   string                        // of every role; "": it cannot be read
	restarts string                        // what is told of instances that were started again by themselves
	files    string                        // of every role, as Prepare learns it
	prepares func(role release.Role) error // nil: all are prepared
	prepared []string                      // the files of roles that were prepared, in order
	whole    bool                          // content was read whole
	findings []release.Finding             // of Preflight
	asked    func()                        // is called by Preflight; nil: nothing happens meanwhile
	answer   http.HandlerFunc              // what every role answers; nil: one line
	left     []string                      // what of a role that was adopted is not kept
	plain    []release.Finding             // of Adopt
}

func newMemory() *memory {
	return &memory{runs: map[string]string{}, changed: map[string][]deploy.Change{}, stuck: map[string]error{}, away: map[string]error{}, stopped: map[string]bool{}}
}

func (m *memory) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

func (m *memory) Preflight(context.Context, release.Release, []release.Role, bool) (deploy.Preflight, error) {
	if asked := m.asked; asked != nil {
		m.asked = nil
		asked()
	}
	return deploy.Preflight{Findings: m.findings}, nil
}

func (m *memory) Prepare(_ context.Context, role release.Role) (release.Role, error) {
	if m.prepares != nil {
		if err := m.prepares(role); err != nil {
			return role, err
		}
	}
	m.mu.Lock()
	m.prepared = append(m.prepared, role.Files)
	m.mu.Unlock()
	if role.Files == "" {
		role.Files = m.files
	}
	return role, nil
}

func (m *memory) Switch(ctx context.Context, step deploy.Step) (release.Live, error) {
	m.note("switch " + step.Role.Name + " " + step.Role.Digest)
	if m.switches != nil {
		if err := m.switches(ctx, step); err != nil {
			return release.Live{}, err
		}
	}
	m.mu.Lock()
	m.runs[step.Role.Name] = step.Role.Digest
	m.mu.Unlock()
	seen, err := m.Compare(ctx, step)
	return seen.Live, err
}

// Adopt finds what runs of a role that another hand has started.
func (m *memory) Adopt(ctx context.Context, step deploy.Step) (deploy.Adoption, error) {
	m.mu.Lock()
	digest, runs := m.runs[step.Role.Name]
	m.mu.Unlock()
	if !runs {
		return deploy.Adoption{}, nil
	}
	role := step.Role
	role.Digest = digest
	seen, err := m.Compare(ctx, deploy.Step{Role: role})
	return deploy.Adoption{Found: true, Role: role, Live: seen.Live, Left: m.left, Findings: m.plain}, err
}

func (m *memory) Compare(_ context.Context, step deploy.Step) (deploy.Comparison, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := step.Role.Name
	m.whole = m.whole || step.Whole
	seen := deploy.Comparison{Live: release.Live{Desired: 1, Wanted: m.runs[name], Unsteady: m.restarts, At: time.Now()}, Changes: slices.Clone(m.changed[name])}
	digest := m.runs[name]
	if seen.Present = digest != ""; seen.Present {
		seen.Live.Digests = []string{digest}
		if !m.stopped[name] {
			seen.Live.Ready = 1
		}
	}
	if digest != step.Role.Digest {
		seen.Changes = append(seen.Changes, deploy.Change{Role: name, Object: "entry", Action: release.ActionSwitched})
	}
	return seen, m.away[name]
}

func (m *memory) Remove(_ context.Context, role release.Role, keep release.Release) error {
	if _, kept := keep.Role(role.Name); kept {
		return nil
	}
	m.note("remove " + role.Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, role.Name)
	return m.stuck[role.Name]
}

func (m *memory) Undo(_ context.Context, role release.Role) error {
	m.note("undo " + role.Name)
	if m.undoes != nil {
		return m.undoes(role)
	}
	return nil
}

func (m *memory) Prune(ctx context.Context, _ release.Role, _ func() ([]release.Record, error)) error {
	if m.prunes != nil {
		return m.prunes(ctx)
	}
	return nil
}

// Reach is what the objects of a role are: each is a deploy.Reach.
func (m *memory) Reach(role release.Role) (out deploy.Reach) {
	for _, raw := range role.Objects {
		_ = json.Unmarshal(raw, &out)
	}
	return out
}

func (m *memory) Do(_ context.Context, _ release.Role, req *http.Request) (*http.Response, error) {
	if m.answer != nil {
		recorder := httptest.NewRecorder()
		m.answer(recorder, req)
		return recorder.Result(), nil
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("the token is zqx1")), Request: req}, nil
}

func (m *memory) Mask(context.Context, release.Role) (func(string) string, error) {
	if m.secret == "" {
		return nil, errors.New("forbidden")
	}
	return func(s string) string { return strings.ReplaceAll(s, m.secret, "[hidden]") }, nil
}

func (m *memory) Close() error { return nil }

const (
	onMemory release.Target = "memory"
	oldBits                 = "sha256:01d"
	newBits                 = "sha256:1e3"
	oldSHA                  = "01d0000001d0000001d0000001d0000001d00000"
	newSHA                  = "1e300001e300001e300001e300001e300001e300"
)

// app is an engine whose roles are in memory, and what its tests look at.
type app struct {
	deploy.Engine
	target *memory
	store  ledger.Store
}

func newApp(t *testing.T, roles ...string) *app {
	t.Helper()
	a := &app{target: newMemory(), store: ledgertest.NewStore()}
	cfg := config.Config{App: "bus", Path: config.File}
	for _, name := range roles {
		cfg.Roles = append(cfg.Roles, config.Role{Name: name})
	}
	a.Engine = deploy.Engine{
		Config: cfg, Targets: map[release.Target]deploy.Target{onMemory: a.target},
		Ledger: ledger.New(a.store, "bus", ledger.Options{}), Timeout: time.Minute,
		Lock: ledger.LockOptions{TTL: 6 * time.Second},
	}
	return a
}

// releaseOf is a release of a commit whose roles all run the same digest.
func releaseOf(sha, digest string, roles ...string) release.Release {
	rel := release.Release{App: "bus", Kind: release.KindRelease, SHA: sha}
	for _, name := range roles {
		rel.Roles = append(rel.Roles, release.Role{Name: name, Target: onMemory, Digest: digest})
	}
	return rel
}

// ship releases, with what is read of the ledger before, as the command does.
func (a *app) ship(t *testing.T, rel release.Release, terms deploy.Terms) (release.Record, error) {
	t.Helper()
	return a.shipWithin(t.Context(), t, rel, terms)
}

func (a *app) shipWithin(ctx context.Context, t *testing.T, rel release.Release, terms deploy.Terms) (release.Record, error) {
	t.Helper()
	var err error
	if terms.History, err = a.Read(t.Context()); err != nil {
		return release.Record{}, err
	}
	return a.Release(ctx, rel, terms)
}
