package main

import (
	"context"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// targetKind is how to connect to one kind of target, and where it stores the ledger.
type targetKind struct {
	target release.Target

	// open connects. With partial, a part that cannot be reached is no error.
	open func(ctx context.Context, s *session, partial bool) (deploy.Target, error)
	// store is where the target stores the ledger of an app.
	store func(t deploy.Target, app string) ledger.Store
	// askRegistry says that records of the app in another ledger are found only by
	// their copies in the registry.
	askRegistry bool
}

// targetKinds are the kinds of targets. The ledger of an app is stored by the first of
// them that a role of the app runs on. What else a new kind needs: docs/architecture.md.
func targetKinds() []targetKind {
	return []targetKind{
		{target: release.TargetKubernetes, open: openKubernetes, store: storeInCluster},
		{target: release.TargetHost, open: openHosts, store: storeOnHost, askRegistry: true},
	}
}

// kindOf is the kind of a target.
func kindOf(target release.Target) (targetKind, bool) {
	for _, kind := range targetKinds() {
		if kind.target == target {
			return kind, true
		}
	}
	return targetKind{}, false
}

func openKubernetes(ctx context.Context, s *session, _ bool) (deploy.Target, error) {
	t, err := kube.Open(ctx, s.cfg, s.kubeOptions())
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (s *session) kubeOptions() kube.Options {
	return kube.Options{
		Kubeconfig: s.globals.kubeconfig, Context: s.globals.context, Timeout: s.timeout(), Progress: s.report,
		CanPull: s.canPull, Platforms: s.registry.Platforms,
	}
}

// canPull checks that an image can be pulled with the Docker configuration of a pull
// secret, as the kubelet would; nil is without one.
func (s *session) canPull(ctx context.Context, ref string, dockerConfig []byte) error {
	if dockerConfig == nil {
		return s.registry.CanPull(ctx, ref, nil)
	}
	keychain, err := registry.KeychainFromDockerConfig(dockerConfig)
	if err != nil {
		return err
	}
	return s.registry.CanPull(ctx, ref, keychain)
}

func openHosts(ctx context.Context, s *session, partial bool) (deploy.Target, error) {
	t, err := host.Open(ctx, s.cfg, host.Options{Progress: s.report, ImageFor: s.registry.ImageFor, Platforms: s.registry.Platforms, Partial: partial})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func storeInCluster(t deploy.Target, _ string) ledger.Store { return t.(*kube.Target).Store() }

// storeOnHost stores the ledger on the first host, where everybody who may release
// to it finds the same records.
func storeOnHost(t deploy.Target, app string) ledger.Store {
	disk, folder := t.(*host.Target).Disk()
	if disk == nil {
		return ledger.NewDirectory(folder, app)
	}
	return ledger.NewDirectoryOn(disk, folder, app)
}
