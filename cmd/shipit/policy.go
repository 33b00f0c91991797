package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// newAttestor sets the attestor. readFile reads the policy's public keys from the
// commit; nil reads them from the folder of the configuration file.
func (s *session) newAttestor(ctx context.Context, readFile func(string) ([]byte, error)) {
	s.attestor = attest.New(s.cfg.Signing, attest.Options{
		RemoteOptions: s.registry.RemoteOptions(ctx), ReadFile: readFile,
		Dir: s.cfg.Dir, Source: s.cfg.Source,
	})
}

// verifyImage verifies one role's image against the signing policy. stored are the
// attachments of the record that the release comes from; nil for a new release.
type verifyImage func(ctx context.Context, role release.Role, stored map[string][]byte) (attest.Verified, error)

// policy is what the engine requires of images.
func (s *session) policy(verify verifyImage) deploy.Policy {
	var p deploy.Policy
	if s.attestor.Signs() {
		p.Attest = s.attestor.AttestDeployment
	}
	if !s.attestor.HasPolicy() {
		return p
	}
	p.Requires = s.attestor.Policy
	p.Verify = func(ctx context.Context, role release.Role, stored map[string][]byte) (deploy.Verified, error) {
		got, err := verify(ctx, role, stored)
		var untrusted *attest.UntrustedError
		if errors.As(err, &untrusted) {
			return deploy.Verified{}, &deploy.UntrustedError{Err: untrusted, Hint: untrusted.Hint()}
		}
		out := deploy.Verified{Bundles: got.Attachments(role.Digest)}
		for _, b := range got.Bundles {
			out.Signers = append(out.Signers, fmt.Sprintf("%s by %s", b.Predicate, b.Signer))
		}
		return out, err
	}
	return p
}

// verifyNew verifies the bundles in the registry, and the branch by the git history.
func (t *commit) verifyNew(ctx context.Context, role release.Role, _ map[string][]byte) (attest.Verified, error) {
	return t.attestor.Verify(ctx, role.Reference(), attest.VerifyOptions{Ancestor: t.ancestor})
}

// ancestor reports whether branch contains a commit.
func (s *session) ancestor(ctx context.Context, commit, branch string) (bool, error) {
	return git.Contains(ctx, s.globals.dir, commit, branch)
}

// ledgerOptions say who signs records, who verifies them, and which registry holds
// their second copy.
func (s *session) ledgerOptions(ctx context.Context) ledger.Options {
	o := ledger.Options{Progress: s.report}
	if s.attestor.Signs() {
		o.Sign = s.attestor.SignBlob
	}
	if s.attestor.HasPolicy() {
		o.VerifySignature = func(ctx context.Context, record, signature []byte) error {
			_, err := s.attestor.VerifyBlob(ctx, record, signature)
			return err
		}
	}
	for _, r := range s.cfg.Roles {
		repository, err := name.NewRepository(path.Join(s.cfg.Images[r.Image].Repository, "releases", strings.ToLower(s.cfg.Environment)))
		if err == nil {
			o.Mirror = ledger.NewRegistryMirror(repository, s.registry.RemoteOptions(ctx)...)
			break
		}
	}
	return o
}
