package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// A store holds the newest records. Older ones are moved to the mirror, where every
// record has its copy anyhow, a segment at a time: the copies of a segment are
// compared with the records, an index of the segment is written, and then the
// records are dropped. The newest index stays in the store. It holds the hashes of
// its records and of the indexes before it, so that what the mirror says of a record
// can be checked by what the store says.

const (
	kindArchive = "archive"

	keptRecords    = 200 // at least so many of the newest records stay in the store
	segmentRecords = 64  // that are moved at a time
	archiveEvery   = 8   // of so many runs one looks whether there is something to move

	// archiveTime is what must be left of a run's time to begin another segment.
	archiveTime = 5 * time.Second
)

// Dropper is a Store that can give up entries which are archived. In another one
// all records stay.
type Dropper interface {
	// Drop removes the entries of a kind that are chosen by their names.
	Drop(ctx context.Context, kind string, chosen func(name string) bool) error
}

// index tells of the records of one segment, which are in the mirror.
type index struct {
	App     string    `json:"app"`
	To      int64     `json:"to"` // the last number of the segment
	Records []indexed `json:"records"`
	Earlier []segment `json:"earlier"` // the segments before it, oldest first
}

// indexed is a record of a segment: its hash, and what a rollback chooses it by.
type indexed struct {
	Hash    string          `json:"hash"`
	Record  release.Record  `json:"record"`
	Adopted *release.Record `json:"adopted,omitempty"` // of the first record: #0
}

// segment is an earlier segment: its last number, and the hash of its index.
type segment struct {
	To   int64  `json:"to"`
	Hash string `json:"hash"`
}

func indexName(to int64) string { return recordName(to) + "-" + kindArchive }

// indexedRecord is what the index tells of a record.
func (l *Ledger) indexedRecord(e StoredEntry) indexed {
	out := indexed{Hash: hash(e.Parts[partRecord]), Record: chosenBy(e.record())}
	out.Record.Seq = e.seq()
	if adopted, found, err := l.adoptedIn(e); found && err == nil {
		record := chosenBy(adopted.Record)
		out.Adopted = &record
	}
	return out
}

// chosenBy is a record with what a rollback chooses it by.
func chosenBy(r release.Record) release.Record {
	return release.Record{
		App: r.App, Seq: r.Seq, Kind: r.Kind, SHA: r.SHA, Version: r.Version, Outcome: r.Outcome, Parity: r.Parity,
		StartedAt: r.StartedAt, SettledAt: r.SettledAt, Previous: r.Previous, Origin: r.Origin, Adopted: r.Adopted, Restored: r.Restored,
	}
}

// Archive moves old records from the store to the mirror, as many as there is time
// for until ctx ends, and returns how many it moved. Nothing is dropped whose copy
// is not there and equal, and none of a segment whose chain is broken: the error
// says which. It may be called at the end of every run, under its lock.
func (l *Ledger) Archive(ctx context.Context, lock *Lock) (moved int, err error) {
	dropper, drops := l.store.(Dropper)
	newest := lock.newest.Load()
	if !drops || l.opts.Mirror == nil || newest%archiveEvery != 0 || newest < keptRecords+segmentRecords {
		return 0, nil
	}
	// A record as old as this is still in the store only if a segment can be moved.
	if old, err := l.read(ctx, recordName(newest-keptRecords-segmentRecords+1)); err != nil || !old.found() {
		return 0, err
	}
	last, err := l.newestIndex(ctx)
	if err != nil {
		return 0, err
	}
	for newest-keptRecords-last.To >= segmentRecords && enoughTime(ctx) {
		next, err := l.writeSegment(ctx, last)
		if err != nil {
			return moved, fmt.Errorf("move old records to %s: %w", l.opts.Mirror.Location(), err)
		}
		if err := l.dropUntil(ctx, dropper, next.To); err != nil {
			return moved, err
		}
		moved, last = moved+len(next.Records), next
	}
	return moved, nil
}

func enoughTime(ctx context.Context) bool {
	end, limited := ctx.Deadline()
	return ctx.Err() == nil && (!limited || time.Until(end) > archiveTime)
}

// writeSegment checks the copies of the records after an index, and writes their
// index to the mirror and to the store.
func (l *Ledger) writeSegment(ctx context.Context, last index) (index, error) {
	records, err := l.segmentAfter(ctx, last)
	if err != nil {
		return index{}, err
	}
	if err := someAtOnce(copiesAtOnce, records, func(_ int, e StoredEntry) error { return l.verifyCopies(ctx, e) }); err != nil {
		return index{}, err
	}
	next := index{App: l.app, To: last.To + segmentRecords, Earlier: slices.Clone(last.Earlier)}
	if last.To > 0 {
		raw, err := encode(last)
		if err != nil {
			return index{}, err
		}
		next.Earlier = append(next.Earlier, segment{last.To, hash(raw)})
	}
	for _, e := range records {
		next.Records = append(next.Records, l.indexedRecord(e))
	}
	raw, err := encode(next)
	if err != nil {
		return index{}, err
	}
	e := StoredEntry{Name: indexName(next.To), Parts: map[string][]byte{partRecord: raw}, Version: "new", Sealed: true}
	if err := l.verifyCopy(ctx, e); err != nil {
		return index{}, err
	}
	version, err := l.store.Create(ctx, e)
	if err == nil && version == "" {
		err = sameEntry(ctx, l.store, e) // a run that was killed has written it
	}
	return next, err
}

// segmentAfter are the records of the segment after an index, oldest first. They must
// be sealed and a whole chain, from the record that the index ends with to the one
// after the segment.
func (l *Ledger) segmentAfter(ctx context.Context, last index) ([]StoredEntry, error) {
	to := last.To + segmentRecords
	entries, err := l.run(ctx, to+1, segmentRecords+1)
	if err != nil {
		return nil, err
	}
	slices.Reverse(entries)
	before, beforeHash := int64(0), adoptedHash(first(entries).Parts)
	if n := len(last.Records); n > 0 {
		before, beforeHash = last.Records[n-1].Record.Seq, last.Records[n-1].Hash
	}
	for _, e := range entries {
		r := e.record()
		if !e.Sealed && e.seq() <= to {
			return nil, fmt.Errorf("record #%d is not sealed", e.seq())
		}
		if r.Seq != e.seq() || r.Previous != before || r.PreviousHash != beforeHash {
			return nil, &AlteredError{Seq: e.seq(), Field: "previousHash", Message: fmt.Sprintf("it does not follow #%d as it is stored", before)}
		}
		before, beforeHash = e.seq(), hash(e.Parts[partRecord])
	}
	if before != to+1 {
		return nil, fmt.Errorf("record #%d is not there", to+1)
	}
	return entries[:len(entries)-1], nil
}

// verifyCopies finds that the mirror has an entry, its signature and its parts just
// as the store has them. What is missing there is copied first.
func (l *Ledger) verifyCopies(ctx context.Context, e StoredEntry) error {
	beside := chunkNames(e)
	if l.signed() {
		beside = append(beside, signatureName(e.Name))
	}
	for _, name := range beside {
		stored, err := l.read(ctx, name)
		if err == nil && stored.found() {
			err = l.verifyCopy(ctx, stored)
		}
		if err != nil {
			return err
		}
	}
	return l.verifyCopy(ctx, e)
}

// verifyCopy finds that the mirror has an entry just as it is; if it has none it is
// copied first.
func (l *Ledger) verifyCopy(ctx context.Context, e StoredEntry) error {
	there, err := l.opts.Mirror.Get(ctx, e.Name)
	if err == nil && there == nil {
		if err = l.put(ctx, e); err == nil {
			there, err = l.opts.Mirror.Get(ctx, e.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("read the copy of %s: %w", e.Name, err)
	}
	if !maps.EqualFunc(there, e.Parts, bytes.Equal) {
		return &AlteredError{Seq: e.seq(), Field: e.what(partRecord), Message: "its copy in " + l.opts.Mirror.Location() + " differs from it"}
	}
	return nil
}

// dropUntil drops the records up to a number with what belongs to them, and the
// indexes before that number's: those too that a run which was killed had moved and
// not dropped. The marks of withdrawn releases stay.
func (l *Ledger) dropUntil(ctx context.Context, dropper Dropper, to int64) error {
	for _, kind := range []string{kindSignature, kindPart, kindRecord, kindArchive} {
		err := dropper.Drop(ctx, kind, func(name string) bool {
			seq, _ := nameSeq(name)
			return seq > 0 && (seq < to || seq == to && kind != kindArchive) && name != signatureName(markName(seq))
		})
		if err != nil {
			return fmt.Errorf("drop archived records from %s: %w", l.store.Location(), err)
		}
	}
	return nil
}

// newestIndex is the index that the store has; the zero index if there is none.
func (l *Ledger) newestIndex(ctx context.Context) (index, error) {
	names, err := l.store.Names(ctx, kindArchive)
	if err != nil || len(names) == 0 {
		return index{}, err
	}
	e, err := l.read(ctx, slices.MaxFunc(names, bySeq))
	if err != nil {
		return index{}, err
	}
	return l.parseIndex(e)
}

// parseIndex reads an index; one that is not what its name says is an *AlteredError.
func (l *Ledger) parseIndex(e StoredEntry) (index, error) {
	var i index
	err := json.Unmarshal(e.Parts[partRecord], &i)
	if err == nil && (i.App != l.app || indexName(i.To) != e.Name) {
		err = errors.New("it is that of other records")
	}
	if err != nil {
		return index{}, &AlteredError{Seq: e.seq(), Field: kindArchive, Message: err.Error()}
	}
	return i, nil
}
