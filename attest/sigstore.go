package attest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

// endpoints are the URLs of the services that a keyless signature needs.
type endpoints struct {
	fulcio       string
	rekor        string
	rekorVersion uint32
	timestamp    string // empty: the log's own time is enough
}

// endpoints are those of the configuration, or else the public ones that Sigstore
// currently publishes.
func (a *Attestor) endpoints(ctx context.Context) (endpoints, error) {
	if a.cfg.FulcioURL == "" {
		return a.public.get(func() (endpoints, error) { return publicEndpoints(ctx, time.Now()) })
	}
	version := uint32(a.cfg.RekorVersion)
	if version == 0 {
		version = 1
		if a.cfg.TimestampURL != "" {
			version = 2
		}
	}
	return endpoints{a.cfg.FulcioURL, a.cfg.RekorURL, version, a.cfg.TimestampURL}, nil
}

func publicEndpoints(ctx context.Context, now time.Time) (endpoints, error) {
	fail := func(err error) (endpoints, error) {
		return endpoints{}, fmt.Errorf("Sigstore's public services: %w", err)
	}
	published, err := root.FetchSigningConfigWithOptions(tuf.DefaultOptions().WithContext(ctx))
	if err != nil {
		return fail(err)
	}
	fulcio, err := root.SelectService(published.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now)
	if err != nil {
		return fail(err)
	}
	rekor, err := root.SelectService(published.RekorLogURLs(), sign.RekorAPIVersions, now)
	if err != nil {
		return fail(err)
	}
	stamp, err := root.SelectService(published.TimestampAuthorityURLs(), sign.TimestampAuthorityAPIVersions, now)
	if err != nil {
		return fail(err)
	}
	return endpoints{fulcio.URL, rekor.URL, rekor.MajorAPIVersion, stamp.URL}, nil
}

// trustedRoot is the configured file, or Sigstore's public root.
func (a *Attestor) trustedRoot(ctx context.Context) (root.TrustedMaterial, error) {
	return a.root.get(func() (root.TrustedMaterial, error) {
		if a.cfg.TrustedRoot == "" {
			return publicRoot(tuf.DefaultOptions().WithContext(ctx))
		}
		data, err := a.opt.ReadFile(a.cfg.TrustedRoot)
		if err != nil {
			return nil, fmt.Errorf("trusted root: %w", err)
		}
		trusted, err := root.NewTrustedRootFromJSON(data)
		if err != nil {
			return nil, fmt.Errorf("trusted root %s: %w", a.cfg.TrustedRoot, err)
		}
		return trusted, nil
	})
}

// publicRoot updates the trusted root by TUF. If that fails, it uses the cached one
// that was verified last time: an outage of Sigstore must not stop a rollback.
func publicRoot(opts *tuf.Options) (root.TrustedMaterial, error) {
	trusted, err := root.FetchTrustedRootWithOptions(opts)
	if err == nil {
		return trusted, nil
	}
	cached, cacheErr := os.ReadFile(filepath.Join(opts.CachePath, tuf.URLToPath(opts.RepositoryBaseURL), "targets", "trusted_root.json"))
	if cacheErr == nil {
		if last, err := root.NewTrustedRootFromJSON(cached); err == nil {
			return last, nil
		}
	}
	return nil, fmt.Errorf("Sigstore's trusted root: %w (commit one and name it in signing.trustedRoot to need no network)", err)
}
