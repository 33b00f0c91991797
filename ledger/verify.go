package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// FaultKind says what is wrong with a record.
type FaultKind string

const (
	FaultAltered  FaultKind = "altered"  // it is not what was once stored
	FaultMissing  FaultKind = "missing"  // its number was given, and it is not there
	FaultUnsealed FaultKind = "unsealed" // later ones exist, and it can still be changed
	FaultUnsigned FaultKind = "unsigned" // signatures are asked for, and it has none
	FaultUncopied FaultKind = "uncopied" // the mirror has no copy; Copy makes it
)

// Fault is one thing that is wrong with the ledger.
type Fault struct {
	Seq      int64     `json:"seq"`
	Kind     FaultKind `json:"kind"`
	Location string    `json:"location"`        // which copy
	Field    string    `json:"field,omitempty"` // JSON field of the record, or part stored beside it
	Message  string    `json:"message"`
}

func (f Fault) String() string {
	s := fmt.Sprintf("record #%d is %s in %s", f.Seq, f.Kind, f.Location)
	if f.Field != "" {
		s += ": " + f.Field
	}
	return s + ": " + f.Message
}

// Verify checks the newest records by their own hashes, the records after
// them, their signatures and their copies: limit of them, or all for 0. No faults
// means that they are whole. A run that goes on is no fault. Of archived records the
// copies are checked by the indexes of the archive.
func (l *Ledger) Verify(ctx context.Context, limit int) ([]Fault, error) {
	lock, err := l.store.ReadLock(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	a := &audit{ledger: l, ctx: ctx, from: 1}
	entries, err := l.latest(ctx, limit)
	if err != nil {
		return nil, err
	}
	if limit > 0 && len(entries) > 0 {
		a.from = entries[0].seq()
	}
	if entries, err = a.archived(entries, limit); err != nil {
		return nil, err
	}
	marks, err := l.scan(ctx, kindWithdrawn)
	if err != nil {
		return nil, err
	}
	beside, err := l.beside(ctx, slices.Concat(entries, marks))
	if err != nil {
		return nil, err
	}
	a.know(l.store.Location(), beside)
	a.gaps(entries, parseLease(lock.Fields).newest)
	a.chain(l.store.Location(), entries, func(name string) (StoredEntry, error) { return l.read(ctx, name) })
	a.withdrawn(entries, marks)
	if l.opts.Mirror != nil {
		if err := a.copies(slices.Concat(entries, marks, beside), limit); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(a.faults, func(x, y Fault) int { return cmp.Compare(x.Seq, y.Seq) })
	return a.faults, nil
}

// latest are the newest records as they are stored, limit of them or all for 0,
// oldest first.
func (l *Ledger) latest(ctx context.Context, limit int) ([]StoredEntry, error) {
	if limit <= 0 {
		return l.all(ctx)
	}
	head, err := l.head(ctx)
	if err != nil || !head.found() {
		return nil, err
	}
	entries, err := l.page(ctx, limit, head.seq()+1, head)
	slices.Reverse(entries)
	return entries, err
}

// beside are the entries of signatures and of parts stored apart that belong to
// records and withdrawals, where there are any.
func (l *Ledger) beside(ctx context.Context, entries []StoredEntry) ([]StoredEntry, error) {
	var names []string
	for _, e := range entries {
		names = append(names, chunkNames(e)...)
		if e.Sealed && e.Parts[partSignature] == nil && l.signed() {
			names = append(names, signatureName(e.Name))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	found := make([]StoredEntry, len(names))
	err := someAtOnce(pageReads, names, func(i int, name string) (err error) { found[i], err = l.read(ctx, name); return err })
	return slices.DeleteFunc(found, func(e StoredEntry) bool { return !e.found() }), err
}

// scan returns every entry of a kind as it is stored.
func (l *Ledger) scan(ctx context.Context, kind string) ([]StoredEntry, error) {
	var all []StoredEntry
	err := l.store.Scan(ctx, kind, func(e StoredEntry) error {
		if e.seq() > 0 {
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the %s entries in %s: %w", cmp.Or(kind, "record"), l.store.Location(), err)
	}
	return all, nil
}

// audit gathers faults. It lives as long as one Verify, and so may its context.
type audit struct {
	ledger *Ledger
	ctx    context.Context
	faults []Fault
	from   int64 // the first number that is looked at

	signatures map[string][]byte // by location and name of their entry
}

// know remembers the signatures that a location has as entries of their own.
func (a *audit) know(location string, signatures []StoredEntry) {
	if a.signatures == nil {
		a.signatures = map[string][]byte{}
	}
	for _, e := range signatures {
		if Kind(e.Name) != kindSignature {
			continue
		}
		a.signatures[location+" "+e.Name] = e.Parts[partSignature]
	}
}

func (a *audit) add(seq int64, kind FaultKind, location, field, format string, args ...any) {
	a.faults = append(a.faults, Fault{Seq: seq, Kind: kind, Location: location, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (a *audit) altered(seq int64, location string, err error) {
	var altered *AlteredError
	if !errors.As(err, &altered) {
		a.add(seq, FaultAltered, location, "", "%v", err)
		return
	}
	a.add(seq, FaultAltered, location, altered.Field, "%s", altered.Message)
}

// gaps finds the numbers that were given and are not there.
func (a *audit) gaps(entries []StoredEntry, given int64) {
	location, expected := a.ledger.store.Location(), a.from
	for _, k := range entries {
		if k.seq() > expected {
			a.missing(location, expected, k.seq()-1)
		}
		expected = k.seq() + 1
	}
	if given >= expected {
		a.missing(location, expected, given)
	}
}

func (a *audit) missing(location string, from, to int64) {
	if from == to {
		a.add(from, FaultMissing, location, "", "its number was given")
		return
	}
	a.add(from, FaultMissing, location, "", "the numbers up to #%d were given, and none of them is there", to)
}

// chain checks the records of one location, oldest first: each by itself, by its
// signature, and by the one after it. read reads what is stored apart.
func (a *audit) chain(location string, entries []StoredEntry, read func(name string) (StoredEntry, error)) {
	for i, k := range entries {
		var after release.Record
		if i+1 < len(entries) {
			after = entries[i+1].record()
			if !k.Sealed {
				a.add(k.seq(), FaultUnsealed, location, "", "#%d came after it", after.Seq)
			}
			if after.Previous < k.seq() || after.Previous >= after.Seq {
				a.add(entries[i+1].seq(), FaultAltered, location, "previous", "it says #%d, and #%d is there", after.Previous, k.seq())
			}
		} else if !k.Sealed && k.record().Outcome != release.Pending {
			a.add(k.seq(), FaultUnsealed, location, "", "it is %s, and can still be changed", k.record().Outcome)
		}
		whole, err := joinParts(k, read)
		if err != nil {
			a.altered(k.seq(), location, err)
		}
		e, err := newEntry(k.seq(), a.ledger.app, whole.Parts, k.Sealed)
		if err != nil {
			a.altered(k.seq(), location, err)
		}
		if _, _, err := a.ledger.adoptedIn(whole); err != nil {
			a.altered(0, location, err)
		}
		if err := linked(Entry{Record: release.Record{Seq: k.seq()}, Raw: e.Raw}, after); err != nil {
			a.altered(k.seq(), location, err)
		}
		a.signature(location, k)
	}
}

func (a *audit) signature(location string, k StoredEntry) {
	l := a.ledger
	if l.opts.VerifySignature == nil || !k.Sealed {
		return
	}
	signature := k.Parts[partSignature]
	if signature == nil {
		signature = a.signatures[location+" "+signatureName(k.Name)]
	}
	if signature == nil {
		a.add(k.seq(), FaultUnsigned, location, k.what("signature"), "there is none")
		return
	}
	if err := l.opts.VerifySignature(a.ctx, k.Parts[partRecord], signature); err != nil {
		a.add(k.seq(), FaultAltered, location, k.what("signature"), "%v", err)
	}
}

// withdrawn checks that no withdrawal was taken away or made up.
func (a *audit) withdrawn(entries, marks []StoredEntry) {
	location := a.ledger.store.Location()
	var known withdrawn
	for _, k := range entries {
		rec := k.record()
		for _, seq := range known {
			if !slices.Contains(rec.Withdrawals, seq) {
				a.add(k.seq(), FaultAltered, location, "withdrawals", "#%d was withdrawn before it began, and is not among them", seq)
			}
		}
		known = rec.Withdrawals
	}
	for _, seq := range known {
		if !slices.ContainsFunc(marks, func(m StoredEntry) bool { return m.seq() == seq }) {
			a.add(seq, FaultMissing, location, kindWithdrawn, "it was withdrawn, and its mark is not there")
		}
	}
	for _, k := range marks {
		a.mark(location, k, entries)
	}
}

func (a *audit) mark(location string, k StoredEntry, entries []StoredEntry) {
	var m mark
	if err := json.Unmarshal(k.Parts[partRecord], &m); err != nil {
		a.add(k.seq(), FaultAltered, location, kindWithdrawn, "%v", err)
		return
	}
	if m.Seq != k.seq() || m.App != a.ledger.app {
		a.add(k.seq(), FaultAltered, location, kindWithdrawn, "its mark is for #%d of %q", m.Seq, m.App)
	}
	for _, e := range entries {
		if e.seq() == k.seq() && hash(e.Parts[partRecord]) != m.RecordHash {
			a.add(k.seq(), FaultAltered, location, partRecord, "its hash is %s, and %s was withdrawn",
				release.ShortDigest(hash(e.Parts[partRecord])), release.ShortDigest(m.RecordHash))
		}
	}
	a.signature(location, k)
}
