package main

import (
	"context"
	"errors"
	"fmt"
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
	notary   *attest.Notary
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
	s.notarize(ctx, nil)
	targets, err := s.openTargets(ctx, partial)
	if err != nil {
		return live{}, s.abandon(err)
	}
	return s.engine(ctx, targets, s.verifyRecorded), nil
}

// engine is the deployment engine over targets that are open.
func (s *site) engine(ctx context.Context, targets map[release.Target]deploy.Target, verify verifyImage) live {
	return live{s, deploy.Engine{
		Config: s.cfg, Targets: targets, Policy: s.policy(verify), Timeout: s.timeout(), Progress: s.report,
		Ledger: ledger.New(s.store(targets), s.cfg.App, s.keeping(ctx)),
	}}
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

// store is where the records are kept: with the first role whose target can keep
// them, otherwise in a directory.
func (s *site) store(targets map[release.Target]deploy.Target) ledger.Store {
	for _, r := range s.cfg.Roles {
		if keep := targetKinds()[r.Target()].store; keep != nil {
			return keep(targets[r.Target()])
		}
	}
	return ledger.NewDirectory(s.stateDir(), s.cfg.App)
}

// stateDir keeps the records of an app that has no role in a cluster: below the
// first host's root if that is this machine, else beside the configuration.
func (s *site) stateDir() string {
	for _, r := range s.cfg.Roles {
		if r.Host != nil && r.Host.Address == "" {
			return filepath.Join(r.Host.RootOr(s.cfg.App), "ledger")
		}
	}
	return filepath.Join(s.globals.dir, ".shipit")
}

// abandon closes what was opened; nothing was changed.
func (s *site) abandon(err error) error {
	_ = s.Close() // the first error is the one to tell
	return deploy.Unchanged(err)
}
