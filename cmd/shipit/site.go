package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// site is what one command line works with: the configuration, the registry, who
// signs and verifies, and where progress goes.
type site struct {
	cfg      config.Config
	globals  *globals
	reporter *reporter
	registry *registry.Client
	attestor *attest.Attestor
}

// newSite reads nothing and reaches nothing yet.
func newSite(g *globals, cfg config.Config) (*site, error) {
	rep, err := newReporter(g)
	if err != nil {
		return nil, err
	}
	g.about.App = cfg.App
	return &site{cfg: cfg, globals: g, reporter: rep, registry: registry.New(registry.Options{Progress: rep.report})}, nil
}

func (s *site) report(e release.Event) { s.reporter.report(e) }

// Close ends the progress output.
func (s *site) Close() error { return s.reporter.Close() }

// timeout is the limit of one rollout.
func (s *site) timeout() time.Duration {
	if s.globals.timeout > 0 {
		return s.globals.timeout
	}
	return s.cfg.Timeout.Or(5 * time.Minute)
}

// live is a site with everything that its roles run on.
type live struct {
	*site
	deploy.Engine
}

// openFile opens the configuration file on disk, every target and the ledger:
// what status, history and rollback need, without git. partial lets it go on
// though some machines cannot be reached: what runs there stays unknown.
func openFile(ctx context.Context, g *globals, partial bool) (live, error) {
	cfg, err := config.Load(g.diskFile(), g.env)
	if err != nil {
		return live{}, err
	}
	s, err := newSite(g, cfg)
	if err != nil {
		return live{}, err
	}
	s.newAttestor(ctx, nil)
	targets, err := s.openTargets(ctx, partial)
	if err != nil {
		return live{}, s.abandon(err)
	}
	return s.engine(ctx, targets, s.verifyRecorded)
}

// engine is the deployment engine over targets that are open.
func (s *site) engine(ctx context.Context, targets map[release.Target]deploy.Target, verify verifyImage) (live, error) {
	store, err := s.store(ctx, targets)
	if err != nil {
		return live{}, errors.Join(s.abandon(err), deploy.Engine{Targets: targets}.Close())
	}
	return live{s, deploy.Engine{
		Config: s.cfg, Targets: targets, Policy: s.policy(verify), Timeout: s.timeout(), Progress: s.report,
		Ledger: ledger.New(store, s.cfg.App, s.keeping(ctx)),
	}}, nil
}

// Close ends all connections and the progress output.
func (l live) Close() error { return errors.Join(l.Engine.Close(), l.site.Close()) }

// openTargets connects to everything that the roles run on, at once. What cannot
// be reached ends the command before it has done anything.
func (s *site) openTargets(ctx context.Context, partial bool) (map[release.Target]deploy.Target, error) {
	open := map[release.Target]deploy.Target{}
	var used []release.Target
	for _, r := range s.cfg.Roles {
		if _, seen := open[r.Target()]; !seen {
			used = append(used, r.Target())
			open[r.Target()] = nil
		}
	}
	opened := make([]deploy.Target, len(used))
	group, gctx := errgroup.WithContext(ctx)
	for i, name := range used {
		kind, known := targetKinds()[name]
		if !known {
			return nil, fmt.Errorf("no target %q is known", name)
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

// store is where the records are kept: in the cluster if a role runs there,
// otherwise on the first host.
func (s *site) store(ctx context.Context, targets map[release.Target]deploy.Target) (ledger.Store, error) {
	kept := release.TargetHost
	for _, r := range s.cfg.Roles {
		if r.Target() != release.TargetHost {
			kept = r.Target()
			break
		}
	}
	store := targetKinds()[kept].store(targets[kept], s.cfg.App)
	// Records of apps without a cluster were once kept beside the configuration.
	former := filepath.Join(s.globals.dir, ".shipit")
	if _, err := os.Stat(filepath.Join(former, s.cfg.App)); err != nil {
		return store, nil
	}
	moved, err := ledger.Move(ctx, ledger.NewDirectory(former, s.cfg.App), store)
	if moved > 0 {
		s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Message: fmt.Sprintf("%d record(s) of %s are now kept in %s", moved, former, store.Place())})
	}
	return store, err
}

// abandon closes what was opened; nothing was changed.
func (s *site) abandon(err error) error {
	_ = s.Close() // the first error is the one to tell
	return deploy.Unchanged(err)
}
