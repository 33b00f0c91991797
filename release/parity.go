package release

import "fmt"

// DriftKind is one way in which a role can differ from its record.
type DriftKind string

const (
	DriftDigest  DriftKind = "digest"  // another image serves
	DriftMissing DriftKind = "missing" // nothing serves
	DriftMixed   DriftKind = "mixed"   // several images serve at once
	DriftUnready DriftKind = "unready" // fewer instances are ready than asked for
	DriftForeign DriftKind = "foreign" // something serves that the release did not start
	DriftObject  DriftKind = "object"  // an object was changed by another hand
	DriftUnknown DriftKind = "unknown" // what runs could not be read
)

// Drift is one difference between what a release recorded and what runs.
type Drift struct {
	Role   string    `json:"role"`
	Kind   DriftKind `json:"kind"`
	Wanted string    `json:"wanted"`
	Live   string    `json:"live"`
	Detail string    `json:"detail,omitempty"`
}

func (d Drift) String() string {
	s := fmt.Sprintf("%s: %s: wanted %s, live %s", d.Role, d.Kind, ShortDigest(d.Wanted), ShortDigest(d.Live))
	if d.Detail != "" {
		s += " (" + d.Detail + ")"
	}
	return s
}

// Compare compares what runs with a release, role by role. No drift means
// parity: the live digest of every role is the one that this release names.
func Compare(rel Release, live map[string]Live) []Drift {
	var drifts []Drift
	for _, role := range rel.Roles {
		drifts = append(drifts, compareRole(role, live[role.Name])...)
	}
	return drifts
}

func compareRole(role Role, live Live) []Drift {
	var drifts []Drift
	unknown := role.Digest == "" // it was adopted, and nobody knows its image: any fits
	add := func(kind DriftKind, seen, detail string) {
		drifts = append(drifts, Drift{Role: role.Name, Kind: kind, Wanted: role.Digest, Live: seen, Detail: detail})
	}
	if live.Note != "" {
		add(DriftForeign, live.Digest(), live.Note)
	}
	switch {
	case live.At.IsZero():
		detail := live.Unread
		if detail == "" {
			detail = "it was not read"
		}
		add(DriftUnknown, "unknown", detail)
	case len(live.Digests) == 0 && live.Desired == 0:
		// Scaled to nothing, or a role of jobs and schedules only: nothing serves a wrong image.
	case unknown && live.Ready >= live.Desired && live.Unsteady == "":
	case len(live.Digests) == 0:
		add(DriftMissing, "nothing", live.readiness())
	default:
		matching := 0
		for _, d := range live.Digests {
			if unknown || role.Runs(d) {
				matching++
			}
		}
		switch {
		case matching == 0:
			add(DriftDigest, live.Digest(), live.Unsteady)
		case matching < len(live.Digests):
			add(DriftMixed, fmt.Sprint(len(live.Digests), " digests"), live.Unsteady)
		case live.Ready < live.Desired:
			add(DriftUnready, live.Digest(), live.readiness())
		case live.Unsteady != "":
			add(DriftUnready, live.Digest(), live.Unsteady)
		}
	}
	return drifts
}

// readiness says how many instances are ready, and whether they stay so.
func (l Live) readiness() string {
	text := fmt.Sprintf("%d/%d ready", l.Ready, l.Desired)
	if l.Unsteady != "" {
		text += ", " + l.Unsteady
	}
	return text
}

// Observe writes what was seen into the record: live digests, readiness and
// parity. objects are the drifts of what the release has besides images. shaOf
// names the commit that a foreign digest belongs to, "" if none.
func (r Record) Observe(rel Release, live map[string]Live, objects []Drift, shaOf func(role, digest string) string) Record {
	r.Drift = append(Compare(rel, live), objects...)
	byRole := map[string]Drift{}
	for _, d := range r.Drift {
		if _, dup := byRole[d.Role]; !dup {
			byRole[d.Role] = d
		}
	}
	roles := make([]RoleRecord, 0, len(r.Roles))
	for _, rec := range r.Roles {
		role, _ := rel.Role(rec.Name)
		l := live[rec.Name]
		rec.Ready, rec.Desired, rec.LiveDigest, rec.LiveSHA = l.Ready, l.Desired, l.Digest(), ""
		if rec.Wanted = l.Wanted; role.Digest == "" || role.Runs(l.Wanted) {
			rec.Wanted = role.Digest
		}
		switch {
		case role.Runs(l.Digest()):
			rec.LiveDigest, rec.LiveSHA = role.Digest, rel.SHA
		case shaOf != nil && l.Digest() != "":
			rec.LiveSHA = shaOf(rec.Name, l.Digest())
		}
		d, drifted := byRole[rec.Name]
		rec.InParity, rec.Reason = !drifted, l.Info
		if drifted {
			rec.Reason = d.String()
		}
		roles = append(roles, rec)
	}
	r.Roles = roles
	r.Parity = len(r.Drift) == 0 && len(r.Roles) > 0
	return r
}
