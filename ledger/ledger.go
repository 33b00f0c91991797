// Package ledger records what was released. A pending record with a number is written
// before the first change of a release, and sealed with the outcome at the end; each
// carries the hash of the one before. A lock lets one run write at a time.
//
// The ledger holds the rules; a Store only compares and swaps. Whatever the lock says, no record is
// lost: a number is given once, and a sealed record cannot be written again.
package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/joelhooks/shipit/release"
)

// Options are the rare settings of a ledger; the zero value works.
type Options struct {
	Now      func() time.Time // default time.Now
	Progress release.Progress
	Mirror   Mirror // holds a second copy of what is sealed; nil: none

	// Sign makes the signature that is stored beside a sealed record; nil: none. A
	// record whose signing fails is stored all the same, and that is reported.
	Sign func(ctx context.Context, content []byte) ([]byte, error)
	// VerifySignature checks such a signature; nil: signatures are not looked at.
	VerifySignature func(ctx context.Context, content, signature []byte) error
}

// Ledger is the lock and the records of one app. It holds no state of a run: what
// was read, begun and sealed are values that one call returns and the next takes.
// It may be used by several goroutines at once.
type Ledger struct {
	store Store
	app   string
	opts  Options
}

// New is the ledger of an app in a store. It reads nothing yet.
func New(store Store, app string, opts Options) *Ledger {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Ledger{store: store, app: app, opts: opts}
}

// now is the time in the precision in which records have it.
func (l *Ledger) now() time.Time { return l.opts.Now().UTC().Truncate(time.Millisecond) }

func (l *Ledger) report(phase release.Phase, mark release.Mark, format string, args ...any) {
	l.opts.Progress.Report(release.Event{Phase: phase, Mark: mark, Message: fmt.Sprintf(format, args...)})
}

// ConflictError says that the entry was written by another run. This run wrote nothing.
type ConflictError struct {
	Seq      int64
	Location string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("record #%d in %s was written by another run", e.Seq, e.Location)
}

// MissingError says that there is no record of that number.
type MissingError struct {
	Seq      int64
	Location string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("there is no record #%d in %s", e.Seq, e.Location)
}

// AlteredError says that a record is not what was once stored. It must not run.
type AlteredError struct {
	Seq     int64
	Field   string // the part, or the JSON field, where the check failed
	Message string
}

func (e *AlteredError) Error() string {
	return fmt.Sprintf("record #%d was altered: %s: %s", e.Seq, e.Field, e.Message)
}

// SizeError says that a release is too large to be stored.
type SizeError struct{ Size, Limit int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the release is %d bytes; the limit is %d", e.Size, e.Limit)
}

// hash is the digest of a part in the form in which records carry it.
func hash(part []byte) string {
	sum := sha256.Sum256(part)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// encode is the one form in which records and marks are stored.
func encode(v any) ([]byte, error) {
	var encoded bytes.Buffer
	e := json.NewEncoder(&encoded)
	e.SetEscapeHTML(false) // people read it
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return encoded.Bytes(), err
}
