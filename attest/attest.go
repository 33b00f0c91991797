// Package attest signs images and records, attaches attestations to images, and
// verifies images and records before anything runs.
//
// Everything it makes is a Sigstore bundle around an in-toto statement: a DSSE
// envelope whose statement names the image by digest and says, by its predicate
// type, what is attested. Bundles are attached to the image in its registry, in
// the form that cosign v3 reads and writes. They can also be stored with a record,
// so that a rollback is verified without a registry and without Sigstore.
//
// An attestation counts only if its predicate type is exactly the required one:
// provenance is not a signature, even if its signature is valid.
package attest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Predicate types. Those outside shipit.dev are the ones that other tools read.
const (
	signatureType  = "https://sigstore.dev/cosign/sign/v1" // what cosign v3 writes for a signature
	ProvenanceType = "https://slsa.dev/provenance/v1"      // SLSA provenance v1
	SBOMType       = "https://cyclonedx.org/bom"           // CycloneDX
	deploymentType = "https://shipit.dev/deployment/v1"    // a Deployment
	RebuildType    = "https://shipit.dev/rebuild/v1"       // a Rebuild
	recordType     = "https://shipit.dev/record/v1"        // a record of the ledger
)

// predicateNames are the short names that a policy uses.
func predicateNames() map[string]string {
	return map[string]string{"signature": signatureType, "provenance": ProvenanceType, "sbom": SBOMType}
}

// Options are what an Attestor needs beside the configuration. The zero value works
// for public images and for keys in the working directory.
type Options struct {
	RemoteOptions []remote.Option                   // for every registry request; none: anonymous
	ReadFile      func(path string) ([]byte, error) // reads public keys and the trusted root; default: files below Dir
	Getenv        func(name string) string          // default os.Getenv
	Dir           string                            // what relative paths are relative to; default: the working directory
	Source        string                            // repository that provenance must name, unless the policy says another
}

// Attestor signs and verifies for one configuration. Several goroutines may use it
// at once. Slow steps, such as decrypting the private key, run once, when first
// needed.
type Attestor struct {
	cfg      config.Signing
	opt      Options
	required []string // predicate types that the policy requires

	writing  namedLocks // by image: without the referrers API, a registry loses one of two concurrent attachments
	read     bundleCache
	registry memo[registry]
	key      memo[keypair]
	keys     memo[[]trust]
	root     memo[root.TrustedMaterial]
	public   memo[endpoints]
	session  sessions
}

// New reads no file and no network. cfg is taken as valid: package config has
// checked it.
func New(cfg config.Signing, opt Options) *Attestor {
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	if opt.ReadFile == nil {
		dir := opt.Dir
		opt.ReadFile = func(path string) ([]byte, error) { return os.ReadFile(below(dir, path)) }
	}
	a := &Attestor{cfg: cfg, opt: opt}
	if cfg.Policy == nil {
		return a
	}
	a.required = []string{signatureType}
	for _, short := range requiredPredicates(*cfg.Policy) {
		if predicate := predicateNames()[short]; predicate != signatureType {
			a.required = append(a.required, predicate)
		}
	}
	return a
}

// requiredPredicates are the short names of the predicates that a policy requires,
// sorted. Only provenance names the repository and the commit, so a policy that
// names a repository or a branch requires it.
func requiredPredicates(p config.Policy) []string {
	names := append([]string{"signature"}, p.Predicates...)
	if p.Branch != "" || p.Repository != "" {
		names = append(names, "provenance")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Policy is the policy of this configuration, in the form that records store; nil
// if there is none.
func (a *Attestor) Policy() (*release.Policy, error) {
	p := a.cfg.Policy
	if p == nil {
		return nil, nil
	}
	keys, err := a.policyKeys()
	if err != nil {
		return nil, err
	}
	out := &release.Policy{Identity: p.Identity, Issuer: p.Issuer, Predicates: requiredPredicates(*p), Branch: p.Branch}
	if repository := a.repository(); repository != "" {
		out.Repository = plainRepository(repository)
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, k.fingerprint)
	}
	return out, nil
}

// Signs reports whether this configuration signs.
func (a *Attestor) Signs() bool { return a.cfg.Mode == "key" || a.cfg.Mode == "keyless" }

// HasPolicy reports whether an image must satisfy a policy before it runs.
func (a *Attestor) HasPolicy() bool { return a.cfg.Policy != nil }

// repository is the one that provenance must name; empty if any will do.
func (a *Attestor) repository() string {
	if p := a.cfg.Policy; p != nil && p.Repository != "" {
		return p.Repository
	}
	return a.opt.Source
}

// parseDigest accepts only repository@sha256:…, because a tag can move.
func parseDigest(ref string) (name.Digest, error) {
	d, err := name.NewDigest(ref)
	if err != nil {
		return name.Digest{}, fmt.Errorf("%q is not a reference by digest: %w", ref, err)
	}
	if !strings.HasPrefix(d.DigestStr(), "sha256:") {
		return name.Digest{}, fmt.Errorf("%q: only sha256 digests are signed", ref)
	}
	return d, nil
}

func below(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
