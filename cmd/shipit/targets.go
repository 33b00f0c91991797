package main

import (
	"context"
	"encoding/json"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// targetKind is how one kind of target is opened, what it is given, and where it
// keeps the ledger.
type targetKind struct {
	// open connects. partial lets it go on though a part cannot be reached.
	open func(ctx context.Context, s *site, partial bool) (deploy.Target, error)
	// render makes the objects of a role; nil: manifests.Compose makes them, for all such roles together.
	render func(manifests.Input) ([]json.RawMessage, error)
	// store is where the target keeps the ledger of an app.
	store func(t deploy.Target, app string) ledger.Store
}

// targetKinds is everything that can run a role. A new kind of target is a line
// here, a package below deploy, and its settings in config.
func targetKinds() map[release.Target]targetKind {
	return map[release.Target]targetKind{
		release.TargetKubernetes: {open: openKubernetes, store: storeInCluster},
		release.TargetHost:       {open: openHosts, store: storeOnHost},
	}
}

func openKubernetes(ctx context.Context, s *site, _ bool) (deploy.Target, error) {
	t, err := kube.Open(ctx, s.cfg, s.kubeOptions())
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (s *site) kubeOptions() kube.Options {
	return kube.Options{
		Kubeconfig: s.globals.kubeconfig, Context: s.globals.context, Timeout: s.timeout(), Progress: s.report,
		CanPull: s.canPull, Platforms: s.registry.Platforms,
	}
}

// canPull tries a pull secret, in the form of a Docker configuration, as the
// kubelet would; nil tries without one.
func (s *site) canPull(ctx context.Context, ref string, dockerConfig []byte) error {
	if dockerConfig == nil {
		return s.registry.CanPull(ctx, ref, nil)
	}
	keychain, err := registry.KeychainFromDockerConfig(dockerConfig)
	if err != nil {
		return err
	}
	return s.registry.CanPull(ctx, ref, keychain)
}

func openHosts(ctx context.Context, s *site, partial bool) (deploy.Target, error) {
	t, err := host.Open(ctx, s.cfg, host.Options{Progress: s.report, ImageFor: s.registry.ImageFor, Partial: partial})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func storeInCluster(t deploy.Target, _ string) ledger.Store { return t.(*kube.Target).Store() }

// storeOnHost keeps the ledger on the first host, where everybody who may release
// to it finds the same records.
func storeOnHost(t deploy.Target, app string) ledger.Store {
	disk, folder := t.(*host.Target).Disk()
	if disk == nil {
		return ledger.NewDirectory(folder, app)
	}
	return ledger.NewDirectoryOn(disk, folder, app)
}
