package deploy

import (
	"context"
	"errors"
	"slices"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// recentCount is how many records are read before all are: what is wanted is
// nearly always among them.
const recentCount = 4

// History is what was read of the ledger, newest first: the latest entries, not all.
type History struct{ ledger.View }

// Read reads the newest entries of the ledger. It can run beside other work.
func (e Engine) Read(ctx context.Context) (History, error) {
	view, err := e.Ledger.View(ctx, recentCount)
	return History{view}, err
}

// Built reports whether a record says that the image with that digest was built from
// the inputs with that key. A record that was altered says nothing.
func (h History) Built(key, digest string) bool {
	for _, record := range h.Records() {
		for _, role := range record.Roles {
			if record.Altered == "" && role.Key == key && role.Digest == digest {
				return true
			}
		}
	}
	return false
}

// choice picks a record among the newest.
type choice struct {
	of    func(newest []release.Record) (release.Record, error) // or a *release.NoneError
	final func(chosen release.Record) bool                      // no older one would be chosen in its place; nil: none ever
}

// made reports whether older records would not change the choice.
func (c choice) made(newest []release.Record) bool {
	chosen, err := c.of(newest)
	return err == nil && (c.final == nil || c.final(chosen))
}

// find reads the entry that is chosen, ready to be rolled out: from what was read
// already if it is there, otherwise from as much of the ledger as it takes.
func (e Engine) find(ctx context.Context, h History, choose choice) (ledger.Entry, error) {
	if read := h.Records(); choose.made(read) {
		chosen, _ := choose.of(read)
		i := slices.IndexFunc(h.Entries, func(entry ledger.Entry) bool { return entry.Record.Seq == chosen.Seq })
		return h.Entries[i], e.Ledger.Trust(ctx, h.Entries[i])
	}
	newest, err := e.Ledger.Newest(ctx, choose.made)
	if err != nil {
		return ledger.Entry{}, err
	}
	chosen, err := choose.of(newest)
	if err != nil {
		return ledger.Entry{}, err
	}
	entry, err := e.Ledger.Read(ctx, chosen.Seq)
	if err == nil && !entry.Record.Good() { // the index of the archive said so
		err = &ledger.AlteredError{Seq: chosen.Seq, Field: "outcome", Message: "the archive's index says that it is good, and it is not"}
	}
	return entry, err
}

// chosen reads the entry that a rollback goes to. One that is named by its number is
// read at once, however old it is.
func (e Engine) chosen(ctx context.Context, h History, to string) (ledger.Entry, error) {
	seq, numbered := release.ParseSeq(to)
	if !numbered || slices.ContainsFunc(h.Entries, func(entry ledger.Entry) bool { return entry.Record.Seq == seq }) {
		return e.best(ctx, h, to)
	}
	entry, err := e.Ledger.Read(ctx, seq)
	var missing *ledger.MissingError
	if errors.As(err, &missing) || err == nil && !entry.Record.Good() {
		err = &release.NoneError{Asked: to}
	}
	return entry, err
}

// best reads the entry that release.Choose selects. Only the whole ledger tells that no
// release goes before a pre-release.
func (e Engine) best(ctx context.Context, h History, to string) (ledger.Entry, error) {
	return e.find(ctx, h, choice{
		of:    func(newest []release.Record) (release.Record, error) { return release.Choose(newest, to) },
		final: func(chosen release.Record) bool { return release.Final(chosen, to) },
	})
}

// holdsGood reports whether one of the newest records is good.
func holdsGood(newest []release.Record) bool {
	_, ok := release.Current(newest)
	return ok
}

// newestGood chooses the newest good record: what should be running.
func newestGood() choice {
	return choice{of: func(newest []release.Record) (release.Record, error) {
		record, ok := release.Current(newest)
		if !ok {
			return record, &release.NoneError{}
		}
		return record, nil
	}}
}

// goodBefore chooses the newest good record before seq.
func goodBefore(seq int64) choice {
	return choice{of: func(newest []release.Record) (release.Record, error) {
		for _, r := range newest {
			if r.Seq < seq && r.Good() {
				return r, nil
			}
		}
		return release.Record{}, &release.NoneError{}
	}}
}

// lastGood is the newest good release before seq; false if there is none.
func (e Engine) lastGood(ctx context.Context, h History, seq int64) (release.Release, bool, error) {
	entry, err := e.find(ctx, h, goodBefore(seq))
	var none *release.NoneError
	if errors.As(err, &none) {
		return release.Release{}, false, nil
	}
	return entry.Release(), err == nil, err
}

// withRecordedFiles is the release with the Files that records tell of the same images.
func (h History) withRecordedFiles(rel release.Release) release.Release {
	known := map[string]string{}
	for _, record := range h.Records() {
		for _, r := range record.Roles {
			if record.Altered == "" && r.Files != "" && known[r.Digest] == "" {
				known[r.Digest] = r.Files
			}
		}
	}
	rel.Roles = slices.Clone(rel.Roles)
	for i, role := range rel.Roles {
		if role.Files == "" {
			rel.Roles[i].Files = known[role.Digest]
		}
	}
	return rel
}

// commits names the commit of a digest that some release of the ledger recorded
// for a role. The ledger is read only if what was read already does not hold the
// answer, and no further than to what is archived; "" if no record does, or if it
// cannot be read.
func (e Engine) commits(ctx context.Context, known []release.Record) func(role, digest string) string {
	whole := false
	return func(role, digest string) string {
		if sha := commitOf(known, role, digest); sha != "" || digest == "" || whole {
			return sha
		}
		newest, found, err := e.Ledger.NewestStored(ctx, func(newest []release.Record) bool { return commitOf(newest, role, digest) != "" })
		if err != nil {
			return ""
		}
		known, whole = newest, !found
		return commitOf(newest, role, digest)
	}
}

func commitOf(records []release.Record, role, digest string) string {
	for _, r := range records {
		for _, rr := range r.Roles {
			recorded := release.Role{Digest: rr.Digest, Aliases: rr.Aliases}
			if rr.Name == role && recorded.Runs(digest) {
				return r.SHA
			}
		}
	}
	return ""
}
