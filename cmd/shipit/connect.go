package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/target/host"
	"github.com/joelhooks/shipit/target/kube"
)

// connect reaches every place that the configuration names: one connection to
// the cluster, one to each machine. What cannot be reached ends the command
// before it has done anything.
func (s *site) connect(ctx context.Context) error {
	machines := host.NewMachines(host.Options{Progress: s.report})
	var shared *kube.Cluster
	for _, r := range s.cfg.Roles {
		switch {
		case r.Kubernetes != nil:
			if shared == nil {
				c, err := s.reachCluster(ctx)
				if err != nil {
					return s.abandon(err)
				}
				shared = c
			}
			s.places[r.Name] = &clusterTarget{Cluster: shared, site: s}
		case r.Host != nil:
			s.places[r.Name] = &machineTarget{machines: machines, place: *r.Host, site: s}
			if _, err := machines.For(ctx, *r.Host); err != nil {
				return s.abandon(fmt.Errorf("%s: %w", r.Name, err))
			}
		}
	}
	s.ledger = ledger.New(s.store(shared), s.cfg.App, s.keeping(ctx))
	return nil
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
func (s *site) store(c *kube.Cluster) ledger.Store {
	if c != nil {
		return kube.NewStore(c, s.namespace(), s.cfg.App)
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
