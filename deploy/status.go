package deploy

import (
	"context"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// Status is what runs now, compared with the release that should be running.
type Status struct {
	Record release.Record // of the release that should run, with parity as it is now; Drift is never nil
	Newest release.Record // the newest of all records

	Repaired []string // roles that Repair has put back; nil of a mere Status
}

// Status reads every role and compares it with the newest good release, or if
// there is none with the newest. A *NothingReleasedError says that there is none.
func (e Engine) Status(ctx context.Context) (Status, error) {
	records, err := e.Ledger.Newest(ctx, holdsGood)
	if err != nil {
		return Status{}, err
	}
	if len(records) == 0 {
		return Status{}, &NothingReleasedError{}
	}
	record, err := e.current(ctx, records, false)
	return Status{Record: record, Newest: records[0]}, err
}

// NothingReleasedError says that the ledger holds no record.
type NothingReleasedError struct{}

func (e *NothingReleasedError) Error() string { return "nothing was released yet" }

// current compares what runs with the release that should be running: the newest
// good one, or if there is none the newest. records are the newest, with a good
// one if there is any; whole reads content byte by byte.
func (e Engine) current(ctx context.Context, records []release.Record, whole bool) (release.Record, error) {
	should, ok := release.Current(records)
	if !ok {
		should = records[0]
	}
	entry, err := e.Ledger.Read(ctx, should.Seq)
	if err != nil {
		return release.Record{}, err
	}
	rel := entry.Release()
	earlier, err := e.triedSince(ctx, records, should.Seq)
	if err != nil {
		return release.Record{}, err
	}
	seen := e.compare(ctx, rel, compareOptions{formerRoles: missing(earlier, rel), fullContent: whole})
	record := seen.applyTo(should, e.commits(ctx, records))
	record.Functions, record.Failures = nil, seen.failures()
	if functions, err := e.functions(ctx, rel, seen.registrations); functions != nil {
		record.Functions = functions
		if err != nil {
			record.Reason = release.OneLine(err.Error())
		}
	}
	for i, r := range record.Roles {
		record.Roles[i].Source = sourceOf(r, seen.liveOf(r.Name), records)
	}
	if record.Drift == nil {
		record.Drift = []release.Drift{}
	}
	return record, nil
}

// triedSince are the roles of the releases after seq: none of them is good, and
// what they have brought may still be there.
func (e Engine) triedSince(ctx context.Context, records []release.Record, seq int64) ([]former, error) {
	var out []former
	for _, r := range records {
		if r.Seq <= seq {
			break
		}
		entry, err := e.Ledger.Read(ctx, r.Seq)
		if err != nil {
			return nil, err
		}
		for _, role := range entry.Release().Roles {
			if !slices.Contains(e.Config.Keep, role.Name) {
				out = append(out, former{role, r})
			}
		}
	}
	return out, nil
}
