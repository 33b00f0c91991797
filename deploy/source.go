package deploy

import (
	"strings"

	"github.com/joelhooks/shipit/release"
)

// sourceOf is where what runs for a role comes from; nil if nothing runs. records are
// those of the ledger that were read, newest first: the one that brought the digest is
// named if it is among them.
func sourceOf(r release.RoleRecord, live release.Live, records []release.Record) *release.Source {
	if live.Digest() == "" {
		return nil
	}
	s := &release.Source{Folder: live.Folder, Since: live.Since}
	if !strings.HasPrefix(r.LiveDigest, "path:") {
		s.Digest = r.LiveDigest
	}
	if r.Target == release.TargetKubernetes && s.Digest != "" {
		s.Image = release.Role{Repository: r.Repository, Digest: s.Digest}.Reference()
	}
	for _, record := range records {
		if brought(record, r) {
			seq := record.Seq
			s.Release = &seq
			break
		}
	}
	return s
}

// brought reports whether a record tells of a role that it settled with what runs now.
func brought(record release.Record, r release.RoleRecord) bool {
	for _, known := range record.Roles {
		if known.Name != r.Name || record.Outcome != release.Settled || record.Altered != "" {
			continue
		}
		recorded := release.Role{Digest: known.Digest, Aliases: known.Aliases}
		return record.Adopted && r.InParity && known.Digest == r.Digest || recorded.Runs(r.LiveDigest)
	}
	return false
}
