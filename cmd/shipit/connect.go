package main

import (
	"context"
	"path/filepath"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/target/kube"
)

// connect reaches every place that the configuration names: one connection to
// the cluster, one to each machine. What cannot be reached ends the command
// before it has done anything.
func (s *site) connect(ctx context.Context) error {
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
			s.places[r.Name] = clusterTarget{Cluster: shared, site: s}
		}
	}
	s.ledger = ledger.New(s.store(shared), s.cfg.App, ledger.Options{Progress: s.report})
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
// otherwise in a directory beside the configuration's user.
func (s *site) store(c *kube.Cluster) ledger.Store {
	if c != nil {
		return kube.NewStore(c, s.namespace(), s.cfg.App)
	}
	return ledger.NewDirectory(s.stateDir(), s.cfg.App)
}

// stateDir keeps the records of an app that has no role in a cluster: in the
// first host's root, if that is this machine.
func (s *site) stateDir() string {
	for _, r := range s.cfg.Roles {
		if r.Host != nil {
			return filepath.Join(rootOf(s.cfg.App, *r.Host), "ledger")
		}
	}
	return ".shipit"
}

// rootOf is the folder that holds a host's releases.
func rootOf(app string, h config.Host) string {
	if h.Root != "" {
		return h.Root
	}
	return "/opt/" + app
}
