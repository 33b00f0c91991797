package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Outcome is how a rollout ended.
type Outcome string

const (
	Pending  Outcome = "pending"  // begun, and not known to have ended
	Settled  Outcome = "settled"  // every role ready
	Failed   Outcome = "failed"   // a role failed and what ran before was not put back
	Restored Outcome = "restored" // a role failed and the last good release runs again
	Refused  Outcome = "refused"  // stopped before anything changed; printed, not recorded
)

// Record is a release with what became of it. Its JSON is what commands print
// and what the ledger stores; fields are added, never renamed.
type Record struct {
	App       string       `json:"app"`
	Seq       int64        `json:"seq"`
	Kind      Kind         `json:"kind"`
	SHA       string       `json:"sha"`
	Version   string       `json:"version"`
	Outcome   Outcome      `json:"outcome"`
	Parity    bool         `json:"parity"`
	Roles     []RoleRecord `json:"roles"`
	StartedAt time.Time    `json:"startedAt"`
	SettledAt time.Time    `json:"settledAt,omitzero"`
	Previous  int64        `json:"previous"` // the record before it; 0 for the first

	Origin       int64      `json:"origin,omitempty"`       // for a rollback: the release that was rolled out again
	From         *Promoted  `json:"from,omitempty"`         // for a promotion: the release of the other environment
	Adopted      bool       `json:"adopted,omitempty"`      // what it rolled out is #0: what ran before the first release
	Restored     int64      `json:"restored,omitempty"`     // for a restored one: the release that runs again; none: #0
	Reason       string     `json:"reason,omitempty"`       // why it did not settle, one line
	Failures     []*Failure `json:"failures,omitempty"`     // the autopsy
	Holder       string     `json:"holder,omitempty"`       // who held the lock
	Fence        int64      `json:"fence,omitempty"`        // the lock's number, which only grows
	ObjectsHash  string     `json:"objectsHash,omitempty"`  // sha256:… over the rendered objects of all roles
	PreviousHash string     `json:"previousHash,omitempty"` // sha256:… of the record before it, as it was stored
	Withdrawn    bool       `json:"withdrawn,omitempty"`    // set when read, from a later mark: it must not run again

	Altered string `json:"altered,omitempty"` // set when read: what shows that this is not what was stored; it must not run again
	// Environment is the one that --env named; empty: none. An app has one line of
	// records for each.
	Environment string `json:"environment,omitempty"`
	// Withdrawals are the releases that had been withdrawn when this one began, so
	// that taking away a mark does not bring a release back.
	Withdrawals []int64 `json:"withdrawals,omitempty"`

	Policy  *Policy `json:"policy,omitempty"`  // that its images satisfied; nil: none was required
	Allowed []Code  `json:"allowed,omitempty"` // findings that were let pass by name

	Unchanged bool       `json:"unchanged,omitempty"` // of a run that wrote nothing: this record stands already
	Drift     []Drift    `json:"drift,omitempty"`     // status only: where live differs from recorded
	Functions *Functions `json:"functions,omitempty"` // function ownership, where a role answers for it
}

// RoleRecord is what a record says of one role.
type RoleRecord struct {
	Name       string   `json:"name"`
	Target     Target   `json:"target"`
	Image      string   `json:"image"`
	Repository string   `json:"repository,omitempty"`
	Digest     string   `json:"digest"`
	Key        string   `json:"key,omitempty"` // of the inputs that the image was made of
	Aliases    []string `json:"aliases,omitempty"`
	Files      string   `json:"files,omitempty"`        // as the Role has it
	Wanted     string   `json:"wantedDigest,omitempty"` // what the target was told to run when it was read
	LiveDigest string   `json:"liveDigest"`
	LiveSHA    string   `json:"liveSHA"`
	Ready      int      `json:"ready"`
	Desired    int      `json:"desired"`
	InParity   bool     `json:"inParity"`
	Reason     string   `json:"reason"`
	TookMS     int64    `json:"tookMs,omitempty"` // from its switch to ready
	Source     *Source  `json:"source,omitempty"` // status only: where what runs comes from; nil: nothing runs
}

// Source is where what runs for a role comes from.
type Source struct {
	Folder  string    `json:"folder,omitempty"`  // of a machine: the folder in which the process works
	Image   string    `json:"image,omitempty"`   // of a cluster: the reference of the image, by digest
	Release *int64    `json:"release,omitempty"` // the record that brought it; nil: none that is known
	Digest  string    `json:"digest,omitempty"`  // as liveDigest; "" if it is of no image
	Since   time.Time `json:"since,omitzero"`    // since when it runs
}

// Functions is who owns which function id, as the running roles say.
type Functions struct {
	Roles      []RoleFunctions `json:"roles"`
	Duplicates []string        `json:"duplicates"` // ids in more than one role and not allowed there
}

// RoleFunctions is what one role says of its functions.
type RoleFunctions struct {
	Role             string    `json:"role"`
	IDs              []string  `json:"ids"`
	Count            int       `json:"count"`
	LastRegistration time.Time `json:"lastRegistration,omitzero"` // the last attempt, as the role tells it
	Registered       string    `json:"registered,omitempty"`      // the answer that proves a registration; of a status what the server has
	Retire           bool      `json:"retire,omitempty"`          // it answers, and has no function left
	Unregistered     string    `json:"unregistered,omitempty"`    // how that is not what the role is
	Unasked          string    `json:"unasked,omitempty"`         // why the server could not be asked
}

// ID is how people name a record in output.
func (r Record) ID() string { return name(r.Seq, r.SHA) }

// Good reports whether the record can be rolled back to: it settled in parity,
// was not withdrawn, and is what was stored.
func (r Record) Good() bool {
	return r.Outcome == Settled && r.Parity && !r.Withdrawn && r.Altered == ""
}

// Content is the sequence number of the release whose content this record
// rolled out: its own, or for a rollback that of the release it went back to.
func (r Record) Content() int64 {
	switch {
	case r.Adopted:
		return 0
	case r.Origin != 0:
		return r.Origin
	}
	return r.Seq
}

// Begin is the record of a release before its first change: pending.
func Begin(rel Release, now time.Time) Record {
	rec := Record{
		App: rel.App, Seq: rel.Seq, Kind: rel.Kind, SHA: rel.SHA, Version: rel.Version, Outcome: Pending,
		Origin: rel.Origin, From: rel.From, Adopted: rel.Adopted, StartedAt: now.UTC().Truncate(time.Millisecond), ObjectsHash: rel.ObjectsHash(),
	}
	for _, role := range rel.Roles {
		rec.Roles = append(rec.Roles, RoleRecord{
			Name: role.Name, Target: role.Target, Image: role.Image, Repository: role.Repository,
			Digest: role.Digest, Key: role.Key, Aliases: role.Aliases, Files: role.Files, Reason: "waiting",
		})
	}
	return rec
}

// Adopt is the record #0: what ran before the first release, as it was seen. It is good
// if all of it was ready.
func Adopt(rel Release, live map[string]Live, now time.Time) Record {
	rec := Begin(rel, now).Observe(rel, live, nil, nil)
	rec.Outcome, rec.SettledAt, rec.Drift = Settled, rec.StartedAt, nil
	return rec
}

// Release rebuilds the release that a record tells of. objects are those stored
// with it, by role name.
func (r Record) Release(objects map[string][]json.RawMessage) Release {
	rel := Release{App: r.App, Kind: r.Kind, Seq: r.Seq, SHA: r.SHA, Version: r.Version, Origin: r.Origin, From: r.From, Adopted: r.Adopted}
	for _, role := range r.Roles {
		rel.Roles = append(rel.Roles, Role{
			Name: role.Name, Target: role.Target, Image: role.Image, Repository: role.Repository,
			Digest: role.Digest, Key: role.Key, Aliases: role.Aliases, Files: role.Files, Objects: objects[role.Name],
		})
	}
	return rel
}

// ObjectsHash is the hash over every role's rendered objects, in order.
func (r Release) ObjectsHash() string {
	h := sha256.New()
	for _, role := range r.Roles {
		fmt.Fprintf(h, "role %s %d\n", role.Name, len(role.Objects))
		for _, o := range role.Objects {
			fmt.Fprintf(h, "%d\n", len(o))
			h.Write(o)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
