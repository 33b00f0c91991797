package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/ledger"
)

// connect reaches every place that the configuration names, and opens the ledger.
func (s *site) connect(ctx context.Context) error {
	if err := s.reach(ctx); err != nil {
		return s.abandon(err)
	}
	s.openLedger(ctx)
	return nil
}

// reach connects to the cluster and to each machine. What cannot be reached ends
// the command before it has done anything.
func (s *site) reach(ctx context.Context) error {
	machines := host.NewMachines(host.Options{Progress: s.report})
	for _, r := range s.cfg.Roles {
		switch {
		case r.Kubernetes != nil:
			if s.cluster == nil {
				c, err := s.reachCluster(ctx)
				if err != nil {
					return err
				}
				s.cluster = &clusterTarget{Cluster: c, site: s}
			}
			s.places[r.Name] = s.cluster
		case r.Host != nil:
			place := *r.Host
			place.Key, place.KnownHosts = s.cfg.Beside(place.Key), s.cfg.Beside(place.KnownHosts)
			s.places[r.Name] = &machineTarget{machines: machines, place: place, site: s}
			if _, err := machines.For(ctx, place); err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return nil
}

func (s *site) openLedger(ctx context.Context) {
	s.ledger = ledger.New(s.store(), s.cfg.App, s.keeping(ctx))
}

// abandon closes what was opened; nothing was changed.
func (s *site) abandon(err error) error {
	_ = s.Close() // the first error is the one to tell
	return before(err)
}

func (s *site) reachCluster(ctx context.Context) (*kube.Cluster, error) {
	c, err := kube.Connect(kube.Options{Kubeconfig: s.globals.kubeconfig, Context: s.globals.context, Progress: s.report})
	if err != nil {
		return nil, err
	}
	return c, c.Ping(ctx)
}

// store is where the records are kept: in the cluster if a role runs there,
// otherwise in a directory.
func (s *site) store() ledger.Store {
	if s.cluster != nil {
		return kube.NewStore(s.cluster.Cluster, s.namespace(), s.cfg.App)
	}
	return ledger.NewDirectory(s.stateDir(), s.cfg.App)
}

// stateDir keeps the records of an app that has no role in a cluster: below the
// first host's root if that is this machine, else beside the configuration.
func (s *site) stateDir() string {
	for _, r := range s.cfg.Roles {
		if r.Host != nil && r.Host.Address == "" {
			return filepath.Join(rootOf(s.cfg.App, *r.Host), "ledger")
		}
	}
	return filepath.Join(s.globals.dir, ".shipit")
}

// rootOf is the folder that holds a host's releases.
func rootOf(app string, h config.Host) string {
	if h.Root != "" {
		return h.Root
	}
	return "/opt/" + app
}
