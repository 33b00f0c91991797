package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/progress"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// session is what one command works with: the configuration, the registry, who
// signs and verifies, and where progress goes.
type session struct {
	cfg      config.Config
	globals  *globals
	reporter *progress.Reporter
	registry *registry.Client
	attestor *attest.Attestor
}

// newSession opens the progress output only; nothing else is read or connected.
func newSession(g *globals, cfg config.Config) (*session, error) {
	rep, err := progress.New(g.term.err, g.events)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("--events: %v", err)}
	}
	g.partial.App = cfg.App
	return &session{cfg: cfg, globals: g, reporter: rep, registry: registry.New(registry.Options{Progress: rep.Report})}, nil
}

func (s *session) report(e release.Event) { s.reporter.Report(e) }

// Close ends the progress output.
func (s *session) Close() error { return s.reporter.Close() }

// timeout is the limit of one rollout.
func (s *session) timeout() time.Duration {
	if s.globals.timeout > 0 {
		return s.globals.timeout
	}
	return s.cfg.Timeout.Or(5 * time.Minute)
}

// deployment is a session with connections to all its targets and the ledger.
type deployment struct {
	*session
	deploy.Engine
}

// openFromDisk reads the configuration file from disk and connects to every target
// and the ledger, without git: status, history and rollback need no more. With
// partial, machines that cannot be reached are no error; what runs there is unknown.
func openFromDisk(ctx context.Context, g *globals, partial bool) (deployment, error) {
	cfg, err := config.Load(g.diskFile(), g.env)
	if err != nil {
		return deployment{}, err
	}
	s, err := newSession(g, cfg)
	if err != nil {
		return deployment{}, err
	}
	s.startNotifier(ctx)
	s.newAttestor(ctx, nil)
	targets, err := s.openTargets(ctx, partial)
	if err != nil {
		return deployment{}, s.closeUnchanged(err)
	}
	return s.engine(ctx, targets, s.attestor.VerifyRecorded)
}

// engine adds the ledger and the deployment engine to connected targets.
func (s *session) engine(ctx context.Context, targets map[release.Target]deploy.Target, verify verifyImage) (deployment, error) {
	keeper := s.ledgerKind()
	store := keeper.store(targets[keeper.target], s.cfg.App)
	if err := s.moveOldRecords(ctx, store); err != nil {
		return deployment{}, errors.Join(s.closeUnchanged(err), deploy.Engine{Targets: targets}.Close())
	}
	engine := deploy.Engine{
		Config: s.cfg, Targets: targets, Policy: s.policy(verify), Timeout: s.timeout(), Progress: s.report,
		Ledger: ledger.New(store, s.cfg.App, s.ledgerOptions(ctx)), AskRegistry: keeper.askRegistry, Begun: s.globals.notified.Begun, Changing: spareMemory,
	}
	return deployment{session: s, Engine: engine}, nil
}

// Close ends all connections and the progress output.
func (l deployment) Close() error { return errors.Join(l.Engine.Close(), l.session.Close()) }

// openTargets connects to all targets of the roles, concurrently. If one cannot be
// reached, the command ends before it has done anything.
func (s *session) openTargets(ctx context.Context, partial bool) (map[release.Target]deploy.Target, error) {
	// Hosts are among them in any case: a former role's record tells its machine, and
	// without a role nothing is connected to.
	open := map[release.Target]deploy.Target{release.TargetHost: nil}
	used := []release.Target{release.TargetHost}
	for _, r := range s.cfg.Roles {
		if _, seen := open[r.Target()]; !seen {
			used = append(used, r.Target())
			open[r.Target()] = nil
		}
	}
	opened := make([]deploy.Target, len(used))
	group, gctx := errgroup.WithContext(ctx)
	for i, name := range used {
		kind, known := kindOf(name)
		if !known {
			return nil, fmt.Errorf("unknown target %q", name)
		}
		group.Go(func() (err error) { opened[i], err = kind.open(gctx, s, partial); return err })
	}
	err := group.Wait()
	for i, name := range used {
		if open[name] = opened[i]; opened[i] == nil {
			delete(open, name)
		}
	}
	if err != nil {
		return nil, errors.Join(err, deploy.Engine{Targets: open}.Close())
	}
	return open, nil
}

// ledgerKind is the kind of target that stores the ledger: of those that roles run on,
// the first of targetKinds; without a role, hosts.
func (s *session) ledgerKind() targetKind {
	kinds := targetKinds()
	for _, kind := range kinds {
		if slices.ContainsFunc(s.cfg.Roles, func(r config.Role) bool { return r.Target() == kind.target }) {
			return kind
		}
	}
	return kinds[slices.IndexFunc(kinds, func(k targetKind) bool { return k.target == release.TargetHost })]
}

// moveOldRecords moves records from the folder .shipit beside the configuration to
// the store: earlier versions stored those of apps without a cluster there.
func (s *session) moveOldRecords(ctx context.Context, store ledger.Store) error {
	former := filepath.Join(s.globals.dir, ".shipit")
	if _, err := os.Stat(filepath.Join(former, s.cfg.App)); err != nil {
		return nil
	}
	moved, err := ledger.Move(ctx, ledger.NewDirectory(former, s.cfg.App), store)
	if moved > 0 {
		s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Message: fmt.Sprintf("moved %d record(s) from %s to %s", moved, former, store.Location())})
	}
	return err
}

// closeUnchanged closes the progress output and marks err: nothing was changed.
func (s *session) closeUnchanged(err error) error {
	_ = s.Close() // err is the one to report
	return deploy.Unchanged(err)
}
