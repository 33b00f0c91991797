package deploy

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Status is what runs now, held against the release that should be running.
type Status struct {
	Record release.Record // of the release that should run, with parity as it is now; Drift is never nil
	Newest release.Record // the newest of all records
}

// Status reads every role and compares it with the newest good release, or if
// there is none with the newest. A *NothingReleasedError says that there is none.
func (e Engine) Status(ctx context.Context) (Status, error) {
	records, err := e.Ledger.List(ctx)
	if err != nil {
		return Status{}, err
	}
	if len(records) == 0 {
		return Status{}, &NothingReleasedError{}
	}
	record, err := e.compare(ctx, records)
	return Status{Record: record, Newest: records[0]}, err
}

// NothingReleasedError says that the ledger holds no record.
type NothingReleasedError struct{}

func (e *NothingReleasedError) Error() string { return "nothing was released yet" }

// compare observes every role of the release that should be running.
func (e Engine) compare(ctx context.Context, records []release.Record) (release.Record, error) {
	current, ok := release.Current(records)
	if !ok {
		current = records[0]
	}
	entry, err := e.Ledger.Read(ctx, current.Seq)
	if err != nil {
		return release.Record{}, err
	}
	rel := entry.Release()
	live, err := e.observeAll(ctx, rel)
	if err != nil {
		return release.Record{}, err
	}
	record := current.Observe(rel, live, func(role, digest string) string { return commitOf(records, role, digest) })
	if record, err = e.objectDrift(ctx, rel, record); err != nil {
		return release.Record{}, err
	}
	record.Functions, record.Failures = nil, nil
	if functions, err := e.functions(ctx, rel, nil); functions != nil {
		record.Functions = functions
		if err != nil {
			record.Reason = release.OneLine(err.Error())
		}
	}
	if record.Drift == nil {
		record.Drift = []release.Drift{}
	}
	return record, nil
}

// objectDrift adds what another hand has changed of the objects of every role.
func (e Engine) objectDrift(ctx context.Context, rel release.Release, record release.Record) (release.Record, error) {
	for i, r := range record.Roles {
		role, _ := rel.Role(r.Name)
		t, err := e.target(role)
		if err != nil {
			continue // its drift is that it is unknown
		}
		drifts, err := t.Drift(ctx, role)
		if err != nil {
			return record, fmt.Errorf("compare the objects of %s: %w", r.Name, err)
		}
		if len(drifts) > 0 && r.InParity {
			record.Roles[i].InParity, record.Roles[i].Reason, record.Parity = false, drifts[0].String(), false
		}
		record.Drift = append(record.Drift, drifts...)
	}
	return record, nil
}

// Entry reads the record seq; for 0 the one of the release that should be running.
func (e Engine) Entry(ctx context.Context, seq int64) (ledger.Entry, error) {
	if seq != 0 {
		return e.Ledger.Read(ctx, seq)
	}
	history, err := e.Read(ctx)
	if err != nil {
		return ledger.Entry{}, err
	}
	return e.find(ctx, history, current)
}
