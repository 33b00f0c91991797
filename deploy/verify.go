package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Subject is what a Check looks at.
type Subject string

const (
	SubjectChain     Subject = "chain"     // the records and their copies
	SubjectSignature Subject = "signature" // an image's signature and provenance
	SubjectLive      Subject = "live"      // what runs
	SubjectRebuild   Subject = "rebuild"   // an image, built again from source
)

// Check is one thing that Verify looked at.
type Check struct {
	Subject Subject `json:"check"`
	Object  string  `json:"object"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
}

// Verify looks at the chain of the newest limit records (0: all), at the
// signatures of the release seq (-1: the one that should be running), and, for the
// running one, at what runs.
func (e Engine) Verify(ctx context.Context, seq int64, limit int) (ledger.Entry, []Check, error) {
	faults, err := e.Ledger.Verify(ctx, limit)
	if err != nil {
		return ledger.Entry{}, nil, err
	}
	checks := chainChecks(faults, limit)
	records, err := e.Ledger.Newest(ctx, holdsGood)
	if err != nil && len(faults) == 0 {
		return ledger.Entry{}, nil, err
	}
	should, found := release.Current(records)
	if seq < 0 {
		if !found {
			return ledger.Entry{}, nil, &NothingGoodError{}
		}
		seq = should.Seq
	}
	entry, err := e.Ledger.Read(ctx, seq)
	if err != nil {
		return entry, nil, err
	}
	checks = append(checks, e.imageChecks(ctx, entry)...)
	if found && should.Seq == seq {
		live, err := e.liveChecks(ctx, records)
		if err != nil {
			return entry, nil, err
		}
		checks = append(checks, live...)
	}
	return entry, checks, nil
}

// NothingGoodError says that no release is good.
type NothingGoodError struct{}

func (e *NothingGoodError) Error() string { return "no good release to verify" }

func chainChecks(faults []ledger.Fault, limit int) []Check {
	if len(faults) == 0 {
		object := "records"
		if limit > 0 {
			object = fmt.Sprintf("the newest %d records", limit)
		}
		return []Check{{Subject: SubjectChain, Object: object, OK: true, Detail: "every record is what was once stored, and follows the one before"}}
	}
	var checks []Check
	for _, f := range faults {
		// A copy that was not made yet is no altered record.
		checks = append(checks, Check{Subject: SubjectChain, Object: fmt.Sprintf("#%d", f.Seq), OK: f.Kind == ledger.FaultUncopied, Detail: f.String()})
	}
	return checks
}

func (e Engine) imageChecks(ctx context.Context, entry ledger.Entry) []Check {
	if e.Policy.Verify == nil {
		return []Check{{Subject: SubjectSignature, Object: entry.Record.ID(), OK: true, Detail: "no policy requires one"}}
	}
	if entry.Record.Adopted {
		return []Check{{Subject: SubjectSignature, Object: entry.Record.ID(), Detail: "it ran before the first release, and nobody signed its images"}}
	}
	var checks []Check
	roles := entry.Release().Roles
	for i, v := range e.verifyEach(ctx, roles, nil) {
		check := Check{Subject: SubjectSignature, Object: roles[i].Name + " " + roles[i].Reference(), OK: v.err == nil, Detail: strings.Join(v.Signers, "; ")}
		if v.err != nil {
			check.Detail = release.OneLine(v.err.Error())
		}
		checks = append(checks, check)
	}
	return checks
}

// RebuildChecks compare every image of an entry with what rebuild makes of its source.
// rebuild returns what it found, or why the image is not what its source gives.
func RebuildChecks(entry ledger.Entry, rebuild func(release.Role) (string, error)) []Check {
	if entry.Record.Adopted {
		return []Check{{Subject: SubjectRebuild, Object: entry.Record.ID(), Detail: "it ran before the first release: its commit is not known"}}
	}
	var checks []Check
	seen := map[string]bool{}
	for _, role := range entry.Release().Roles {
		if seen[role.Image] {
			continue
		}
		seen[role.Image] = true
		detail, err := rebuild(role)
		if err != nil {
			detail = release.OneLine(err.Error())
		}
		checks = append(checks, Check{Subject: SubjectRebuild, Object: role.Image + " " + role.Reference(), OK: err == nil, Detail: detail})
	}
	return checks
}

// liveChecks compare what runs with the release that should be running.
func (e Engine) liveChecks(ctx context.Context, records []release.Record) ([]Check, error) {
	record, err := e.current(ctx, records, true)
	if err != nil {
		return nil, err
	}
	var checks []Check
	for _, r := range record.Roles {
		check := Check{Subject: SubjectLive, Object: r.Name, OK: r.InParity, Detail: r.LiveDigest}
		if !r.InParity {
			check.Detail = r.Reason
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// Recover brings back from the registry the records that the ledger's store has lost.
func (e Engine) Recover(ctx context.Context) error {
	lock, err := e.Ledger.Lock(ctx, e.Lock)
	if err != nil {
		return Unchanged(err)
	}
	defer e.unlock(lock)
	locked, stop := lock.Context(ctx)
	defer stop()
	count, err := e.Ledger.Recover(locked, lock)
	if count == 0 {
		err = Unchanged(err)
	}
	return err
}

// Withdraw marks a release so that it never runs again, and returns its record.
func (e Engine) Withdraw(ctx context.Context, seq int64, reason string) (release.Record, error) {
	lock, err := e.Ledger.Lock(ctx, e.Lock)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	defer e.unlock(lock)
	sealed, err := e.Ledger.Withdraw(ctx, lock, seq, reason)
	if err != nil {
		return release.Record{}, Unchanged(fmt.Errorf("withdraw #%d: %w", seq, err))
	}
	for _, one := range sealed {
		e.copy(ctx, ledger.Copied{}, append(e.sign(ctx, one), one)...)
	}
	entry, err := e.Ledger.Read(ctx, seq)
	return entry.Record, errors.Join(err)
}
