package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

// notarize gives the site its notary. readFile reads the policy's public keys
// from the commit; nil reads them beside the configuration file.
func (s *site) notarize(ctx context.Context, readFile func(string) ([]byte, error)) {
	s.notary = attest.New(s.cfg.Signing, attest.Options{
		RemoteOptions: s.registry.RemoteOptions(ctx), ReadFile: readFile,
		Dir: s.cfg.Dir, Source: s.cfg.Source,
	})
}

// judge verifies one role's image against the policy.
type judge func(context.Context, release.Role) (attest.Verified, error)

// trust holds every image of the release against the policy and keeps the
// bundles that fulfil it, to be stored with the record. judge verifies one image.
func (s *site) trust(ctx context.Context, rel release.Release, judge judge) ([]release.Finding, error) {
	if !s.notary.Demands() {
		return nil, nil
	}
	var findings []release.Finding
	seen := map[string]bool{}
	for _, role := range rel.Roles {
		if seen[role.Digest] {
			continue
		}
		seen[role.Digest] = true
		verified, err := judge(ctx, role)
		var untrusted *attest.UntrustedError
		if errors.As(err, &untrusted) {
			findings = append(findings, release.Finding{
				Code: release.CodeUntrusted, Severity: release.Refuses, Role: role.Name, Object: role.Reference(),
				Message: oneLine(untrusted.Error()), Hint: untrusted.Hint(), Fixed: true,
			})
			continue
		}
		if err != nil {
			return findings, err
		}
		for i, bundle := range verified.Stored() {
			s.bundles[bundlePrefix(role.Digest)+fmt.Sprint(i)] = bundle
		}
	}
	return findings, nil
}

// bundlePrefix names the bundles that are kept for an image.
func bundlePrefix(digest string) string {
	return "bundle." + strings.TrimPrefix(digest, "sha256:")[:12] + "."
}

// judge verifies from the registry, with the history of the commit at hand.
func (t *tree) judge(ctx context.Context, role release.Role) (attest.Verified, error) {
	return t.notary.Verify(ctx, role.Reference(), attest.Expect{Ancestor: t.ancestor})
}

// ancestor reports whether branch contains a commit.
func (t *tree) ancestor(ctx context.Context, commit, branch string) (bool, error) {
	src, err := pipeline.Open(ctx, t.globals.dir, commit)
	var none *pipeline.NoSuchRevError
	if errors.As(err, &none) {
		return false, nil // a commit that this repository does not know is on none of its branches
	}
	if err != nil {
		return false, err
	}
	defer src.Close()
	return src.IsAncestor(ctx, branch)
}

// judgeRecorded verifies from the bundles that were kept with a record, so that
// neither Sigstore nor the registry is needed; without any, from the registry.
func (s *site) judgeRecorded(kept map[string][]byte) judge {
	return func(ctx context.Context, role release.Role) (attest.Verified, error) {
		var bundles [][]byte
		for _, key := range slices.Sorted(maps.Keys(kept)) {
			if strings.HasPrefix(key, bundlePrefix(role.Digest)) {
				bundles = append(bundles, kept[key])
			}
		}
		if len(bundles) > 0 {
			return s.notary.VerifyBundles(ctx, bundles, role.Digest, attest.Expect{Recorded: true})
		}
		return s.notary.Verify(ctx, role.Reference(), attest.Expect{Recorded: true})
	}
}

// keeping are the ledger's settings: who signs records, who verifies them, and
// where their second copy is.
func (s *site) keeping(ctx context.Context) ledger.Options {
	o := ledger.Options{Progress: s.report}
	if s.notary.Signs() {
		o.Sign = s.notary.SignBlob
	}
	if s.notary.Demands() {
		o.VerifySig = func(ctx context.Context, kept, signature []byte) error {
			_, err := s.notary.VerifyBlob(ctx, kept, signature)
			return err
		}
	}
	for _, r := range s.cfg.Roles {
		repository, err := name.NewRepository(s.cfg.Images[r.Image].Repository + "/releases")
		if err == nil {
			o.Mirror = ledger.NewRegistryMirror(repository, s.registry.RemoteOptions(ctx)...)
			break
		}
	}
	return o
}

// attestDeployment says of every image where it runs now. It fails nothing: the
// record is the proof, this is its copy for those who only see the registry.
func (s *site) attestDeployment(ctx context.Context, record release.Record) {
	if !s.notary.Signs() {
		return
	}
	seen := map[string]bool{}
	for _, r := range record.Roles {
		ref := r.Repository + "@" + r.Digest
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if _, _, err := s.notary.Attest(ctx, ref, attest.DeploymentType, attest.DeploymentOf(record)); err != nil {
			s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Role: r.Name, Message: "attest the deployment: " + oneLine(err.Error())})
		}
	}
}
