package attest

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// deployment is the predicate, attested after a rollout, that says what runs where.
type deployment struct {
	App     string           `json:"app"`
	Seq     int64            `json:"seq"`
	Kind    release.Kind     `json:"kind"`
	SHA     string           `json:"sha"`
	Version string           `json:"version,omitempty"`
	Outcome release.Outcome  `json:"outcome"`
	Parity  bool             `json:"parity"`
	Roles   []deploymentRole `json:"roles"`
}

// deploymentRole is one role of a Deployment.
type deploymentRole struct {
	Name       string         `json:"name"`
	Target     release.Target `json:"target"`
	Digest     string         `json:"digest"`
	LiveDigest string         `json:"liveDigest"`
	InParity   bool           `json:"inParity"`
}

// deploymentOf is the predicate of a record. It holds no times and no reasons, so
// that the same rollout gives the same bytes.
func deploymentOf(r release.Record) deployment {
	d := deployment{App: r.App, Seq: r.Seq, Kind: r.Kind, SHA: r.SHA, Version: r.Version, Outcome: r.Outcome, Parity: r.Parity}
	for _, role := range r.Roles {
		d.Roles = append(d.Roles, deploymentRole{role.Name, role.Target, role.Digest, role.LiveDigest, role.InParity})
	}
	return d
}

// AttestDeployment attaches to every image of a record where it runs now, for those
// who can read only the registry.
func (a *Attestor) AttestDeployment(ctx context.Context, record release.Record) error {
	var errs []error
	seen := map[string]bool{}
	for _, r := range record.Roles {
		ref := r.Repository + "@" + r.Digest
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if _, _, err := a.Attest(ctx, ref, deploymentType, deploymentOf(record)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Rebuild is the predicate that says that a rebuild of an image from its source
// gave the same image.
type Rebuild struct {
	Repository string `json:"repository"`
	SHA        string `json:"sha"`
	Builder    string `json:"builder"` // embedded or dagger
	Version    string `json:"version"` // of shipit
}
