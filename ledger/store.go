package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// Store has the entries and the lock of one app. Its writes compare and swap:
// the version that a write returns is "", without an error, if another writer
// came first, unless it wrote just the same. An error with a method Temporary() bool that returns true is worth
// another try. ledgertest checks a store by this contract.
//
// An entry is a set of named parts and is known by its name: a sequence number
// of six digits or more, followed for other kinds than records by "-" and the
// kind, and by "-" and a suffix where there are several of a kind.
type Store interface {
	// Create stores a new entry; the version is "" if its name is taken.
	Create(ctx context.Context, e StoredEntry) (version string, err error)
	// Read returns an entry; its version is "" if there is none.
	Read(ctx context.Context, name string) (StoredEntry, error)
	// Swap replaces an unsealed entry that still has the version of e, and may seal
	// it for ever. The version is "" if the entry was written since, or is sealed.
	Swap(ctx context.Context, e StoredEntry) (version string, err error)
	// Names lists the entries of a kind, in any order, without reading them. Records have the kind "".
	Names(ctx context.Context, kind string) ([]string, error)
	// Scan reads every entry of a kind, in any order.
	Scan(ctx context.Context, kind string, each func(StoredEntry) error) error

	// ReadLock returns the lock; its version is "" if it was never taken.
	ReadLock(ctx context.Context) (StoredLock, error)
	// SwapLock replaces the lock if it still has the version of next, "" meaning that
	// there is none. The version is "" if another writer came first.
	SwapLock(ctx context.Context, next StoredLock) (version string, err error)

	// Location names where it stores things, for messages: "namespace joelclaw".
	Location() string
}

// StoredEntry is an entry as it is stored.
type StoredEntry struct {
	Name    string
	Parts   map[string][]byte
	Version string // another after each write; "" if there is no such entry
	Sealed  bool   // it cannot be written again
}

// StoredLock is the lock as it is stored.
type StoredLock struct {
	// Fields are holder, process, ttl, acquired, renewed, fence, head, what, order and
	// waiting. Times are in RFC 3339; an empty one may be left out.
	Fields  map[string]string
	Version string // another after each write; "" if there is none
}

// found reports whether the store has the entry.
func (e StoredEntry) found() bool { return e.Version != "" }

// seq is the sequence number in the entry's name; 0 if there is no such entry.
func (e StoredEntry) seq() int64 {
	if !e.found() {
		return 0
	}
	seq, _ := nameSeq(e.Name)
	return seq
}

// what names a part of the entry, or a field of its record, in a Fault.
func (e StoredEntry) what(field string) string {
	kind := Kind(e.Name)
	switch {
	case kind == "":
		return field
	case field == "":
		return kind
	default:
		return kind + "." + field
	}
}

// record is what can be read of the record, unchecked.
func (e StoredEntry) record() release.Record {
	var rec release.Record
	_ = json.Unmarshal(e.Parts[partRecord], &rec)
	return rec
}

// Parts of an entry. Attached ones carry a prefix.
const (
	partRecord    = "record"
	partObjects   = "objects.json.gz"
	partSignature = "record.sig"
	attached      = "attached."

	kindRecord    = ""
	kindWithdrawn = "withdrawn"
)

// Kind is the kind of the entry of that name; "" for a record.
func Kind(name string) string {
	_, rest, _ := strings.Cut(name, "-")
	kind, _, _ := strings.Cut(rest, "-")
	return kind
}

func recordName(seq int64) string { return fmt.Sprintf("%06d", seq) }

func markName(seq int64) string { return recordName(seq) + "-" + kindWithdrawn }

// nameSeq is the sequence number in an entry's name; false if it has none.
func nameSeq(name string) (int64, bool) {
	digits, _, _ := strings.Cut(name, "-")
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, err == nil && seq > 0
}
