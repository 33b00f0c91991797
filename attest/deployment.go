package attest

import "github.com/joelhooks/shipit/release"

// Deployment is the claim, made after a rollout, of what ran where.
type Deployment struct {
	App     string           `json:"app"`
	Seq     int64            `json:"seq"`
	Kind    release.Kind     `json:"kind"`
	SHA     string           `json:"sha"`
	Version string           `json:"version,omitempty"`
	Outcome release.Outcome  `json:"outcome"`
	Parity  bool             `json:"parity"`
	Roles   []DeploymentRole `json:"roles"`
}

// DeploymentRole is one running part of a Deployment.
type DeploymentRole struct {
	Name       string         `json:"name"`
	Target     release.Target `json:"target"`
	Digest     string         `json:"digest"`
	LiveDigest string         `json:"liveDigest"`
	InParity   bool           `json:"inParity"`
}

// DeploymentOf is what a record says of a rollout, without times and reasons, so
// that the same rollout is the same claim.
func DeploymentOf(r release.Record) Deployment {
	d := Deployment{App: r.App, Seq: r.Seq, Kind: r.Kind, SHA: r.SHA, Version: r.Version, Outcome: r.Outcome, Parity: r.Parity}
	for _, role := range r.Roles {
		d.Roles = append(d.Roles, DeploymentRole{role.Name, role.Target, role.Digest, role.LiveDigest, role.InParity})
	}
	return d
}

// Rebuild is the claim that an image was built again from its source and came
// out the same.
type Rebuild struct {
	Repository string `json:"repository"`
	SHA        string `json:"sha"`
	Builder    string `json:"builder"` // embedded or dagger
	Version    string `json:"version"` // of shipit
}
