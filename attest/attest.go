// Package attest signs images and records, attaches what is known of them, and
// verifies both before anything runs.
//
// Everything it makes is a sigstore bundle around an in-toto statement: a DSSE
// envelope whose statement names the image by digest and says, by its predicate
// type, what is claimed. Bundles are attached to the image in its registry, in
// the form that cosign v3 reads and writes, and can be kept with a record, so
// that a rollback is verified without a registry and without Sigstore.
//
// A claim counts only if its predicate type is exactly the one asked for:
// provenance is not a signature, however well it is signed.
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

// Predicate types. Each claim has its own; the foreign ones are those that other
// tools read.
const (
	SignatureType  = "https://sigstore.dev/cosign/sign/v1" // what cosign v3 writes for a signature
	ProvenanceType = "https://slsa.dev/provenance/v1"      // SLSA provenance v1
	SBOMType       = "https://cyclonedx.org/bom"           // CycloneDX
	DeploymentType = "https://shipit.dev/deployment/v1"    // a Deployment
	RebuildType    = "https://shipit.dev/rebuild/v1"       // a Rebuild
	RecordType     = "https://shipit.dev/record/v1"        // a record of the ledger
)

// predicateNames are the short names that a policy uses.
func predicateNames() map[string]string {
	return map[string]string{"signature": SignatureType, "provenance": ProvenanceType, "sbom": SBOMType}
}

// Options are what a Notary needs beside the configuration. The zero value works
// for public images and keys that lie beside the working directory.
type Options struct {
	RemoteOptions []remote.Option                   // for every registry request; none: anonymous
	ReadFile      func(path string) ([]byte, error) // reads public keys and the trusted root; default: files below Dir
	Getenv        func(name string) string          // default os.Getenv
	Dir           string                            // what relative paths are relative to; default: the working directory
	Source        string                            // repository that provenance must name, unless the policy says another
}

// Notary signs and verifies for one configuration. It may be used by several
// goroutines at once. What costs time, such as decrypting the private key, is
// done once, when first needed.
type Notary struct {
	cfg      config.Signing
	opt      Options
	required []string // predicate types that the policy demands

	writing  latches // by image: a registry without the referrers API loses one of two concurrent attachments
	read     readOnce
	registry memo[registry]
	key      memo[keypair]
	keys     memo[[]trust]
	root     memo[root.TrustedMaterial]
	public   memo[endpoints]
	session  sessions
}

// New reads no file and no network. What is wrong with the configuration was
// said when it was parsed.
func New(cfg config.Signing, opt Options) *Notary {
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	if opt.ReadFile == nil {
		dir := opt.Dir
		opt.ReadFile = func(path string) ([]byte, error) { return os.ReadFile(below(dir, path)) }
	}
	n := &Notary{cfg: cfg, opt: opt}
	if cfg.Policy == nil {
		return n
	}
	n.required = []string{SignatureType}
	for _, short := range demanded(*cfg.Policy) {
		if predicate := predicateNames()[short]; predicate != SignatureType {
			n.required = append(n.required, predicate)
		}
	}
	return n
}

// demanded are the predicates that a policy demands. Only provenance tells the
// repository and the commit, so a policy that names a repository or a branch
// demands it.
func demanded(p config.Policy) []string {
	names := append([]string{"signature"}, p.Predicates...)
	if p.Branch != "" || p.Repository != "" {
		names = append(names, "provenance")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Policy is what this configuration demands, as records keep it; nil if it
// demands nothing.
func (n *Notary) Policy() (*release.Policy, error) {
	p := n.cfg.Policy
	if p == nil {
		return nil, nil
	}
	keys, err := n.policyKeys()
	if err != nil {
		return nil, err
	}
	out := &release.Policy{Identity: p.Identity, Issuer: p.Issuer, Predicates: demanded(*p), Branch: p.Branch}
	if repository := n.repository(); repository != "" {
		out.Repository = plainRepository(repository)
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, k.fingerprint)
	}
	return out, nil
}

// Signs reports whether this configuration signs at all.
func (n *Notary) Signs() bool { return n.cfg.Mode == "key" || n.cfg.Mode == "keyless" }

// Demands reports whether a policy must be fulfilled before anything runs.
func (n *Notary) Demands() bool { return n.cfg.Policy != nil }

// repository is what provenance must name; empty if the policy does not care.
func (n *Notary) repository() string {
	if p := n.cfg.Policy; p != nil && p.Repository != "" {
		return p.Repository
	}
	return n.opt.Source
}

// parseDigest accepts nothing but repository@sha256:…: a tag can move.
func parseDigest(ref string) (name.Digest, error) {
	d, err := name.NewDigest(ref)
	if err != nil {
		return name.Digest{}, fmt.Errorf("%q is no reference by digest: %w", ref, err)
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
