// Package release holds shipit's nouns. A Release is what was decided: a
// commit, the image digest of every role, and the objects rendered for it.
// Rolled out it becomes a Record: what happened to every role, the parity that
// was observed, and the hash of the record before it.
//
// The package is pure: it reads no clock, no file and no network.
package release

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says how a release came to be.
type Kind string

const (
	KindRelease   Kind = "release"   // built or found for a commit
	KindRollback  Kind = "rollback"  // an earlier release, rolled out again
	KindPromotion Kind = "promotion" // what is good in another environment, with its very digests
)

// Target names what runs a role.
type Target string

const (
	TargetKubernetes Target = "kubernetes" // pods of a cluster
	TargetHost       Target = "host"       // a service of one machine
)

// Release is a commit with everything that is needed to run it anywhere, any
// number of times, without git and without a build.
type Release struct {
	App     string
	Kind    Kind
	Seq     int64     // its number in the ledger, from 1; 0 until the ledger has given one
	SHA     string    // 40 hex digits
	Version string    // semantic version without the "v"
	Origin  int64     // for a rollback: the Seq of the release that is rolled out again
	From    *Promoted // for a promotion: what it ships; otherwise nil
	Roles   []Role    // in the order in which they are switched
	// Adopted says that this is what ran before the first release: its objects and
	// services as they were found. Nobody knows its commit.
	Adopted bool
}

// Role is one running part of a release.
type Role struct {
	Name       string
	Target     Target
	Image      string   // its name in shipit.yaml
	Repository string   // registry/owner/name, no tag
	Digest     string   // sha256:…, what the role is told to run; "" of an adopted one whose image is not known
	Key        string   // of the inputs that the image was made of; "" if it is not known
	Aliases    []string // further digests that a runtime may report for Digest: platform manifests, configs
	// Files is what ties the files of a host role to its image: the platform, a colon and
	// the SHA-256 of the list of them. Empty if it is not known, and for other targets.
	Files string
	// Objects are what the target is given: Kubernetes objects, or for a host one
	// service definition. Canonical JSON, one object each, in the order of apply.
	Objects []json.RawMessage
}

// ID is how people name a release in output: its sequence number and short SHA.
func (r Release) ID() string { return name(r.Seq, r.SHA) }

func name(seq int64, sha string) string {
	return strings.TrimSuffix(fmt.Sprintf("#%d %s", seq, Short(sha)), " ")
}

// Role returns the role of that name; false if the release has none.
func (r Release) Role(name string) (Role, bool) {
	for _, role := range r.Roles {
		if role.Name == name {
			return role, true
		}
	}
	return Role{}, false
}

// Reference is the pullable name of the role's image, by digest.
func (r Role) Reference() string { return r.Repository + "@" + r.Digest }

// Runs reports whether a digest that a runtime reported is this role's image.
func (r Role) Runs(reported string) bool {
	return reported != "" && (reported == r.Digest || slices.Contains(r.Aliases, reported))
}

// Short abbreviates a commit SHA to the 7 digits that people read; anything
// shorter is returned as it is.
func Short(sha string) string {
	if len(sha) > 7 {
		return sha[:7]
	}
	return sha
}

// ShortDigest abbreviates the digest in "sha256:…", or in a reference that ends
// with one, to 12 digits; any other text is returned as it is.
func ShortDigest(digest string) string {
	const prefix, digits = "sha256:", 12
	if at := strings.Index(digest, prefix); at >= 0 && len(digest) > at+len(prefix)+digits {
		return digest[:at+len(prefix)+digits]
	}
	return digest
}

// Live is what was seen to run for a role at one moment.
type Live struct {
	Digests []string // every distinct digest that serves, most instances first; empty if nothing runs
	Wanted  string   // the digest that the target is told to run now; empty if unknown
	Ready   int      // instances that serve the wanted revision
	Desired int      // instances asked for
	Note    string   // what is odd about it, in words: a foreign directory, a deleted one; empty if nothing
	// Unsteady says that an instance was started again by itself and may be so
	// again, in words; empty if none was, or all have stayed up for long since.
	Unsteady string
	Folder   string    // of a machine: the folder in which the process works; empty if there is none
	Since    time.Time // when the process began, or the first of the pods that are ready; zero: not known
	Info     string    // what is worth knowing and no drift: a limit that another hand set; empty if nothing
	At       time.Time // when it was read; zero: it was not
	Unread   string    // why it was not read
}

// Digest is the digest that serves, or the first of several; empty if none.
func (l Live) Digest() string {
	if len(l.Digests) == 0 {
		return ""
	}
	return l.Digests[0]
}
