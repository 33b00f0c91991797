package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// What ran before the first release is the record #0. It is stored with record #1, by
// the write that begins that one, so that neither is ever there without the other; and
// the previousHash of #1 is its hash. Its content is signed as that of any release is.

const (
	partAdopted        = "adopted"
	partAdoptedObjects = "adopted.objects.json.gz"
	partAdoptedContent = "adopted." + partContent
)

// Adopted is what ran before the first release.
type Adopted struct {
	Record      release.Record // as release.Adopt makes it
	Roles       []release.Role
	Attachments map[string][]byte // as SignContent gives them
}

// parts are what is stored of it with the first record.
func (a Adopted) parts(first release.Record) (map[string][]byte, error) {
	a.Record.App, a.Record.Environment, a.Record.Holder, a.Record.Fence = first.App, first.Environment, first.Holder, first.Fence
	record, err := encode(a.Record)
	if err != nil {
		return nil, err
	}
	objects, err := packObjects(a.Roles)
	if err != nil {
		return nil, err
	}
	parts := map[string][]byte{partAdopted: record, partAdoptedObjects: objects}
	if signature := a.Attachments[partContent]; signature != nil {
		parts[partAdoptedContent] = signature
	}
	return parts, nil
}

// adoptedIn is the record #0 in the entry of record #1; found is false if nothing ran
// before. What does not fit together is an *AlteredError.
func (l *Ledger) adoptedIn(first StoredEntry) (e Entry, found bool, err error) {
	record := first.Parts[partAdopted]
	if first.seq() != 1 || record == nil {
		return Entry{}, false, nil
	}
	parts := map[string][]byte{partRecord: record}
	for from, to := range map[string]string{partAdoptedObjects: partObjects, partAdoptedContent: attached + partContent, partSplit: partSplit} {
		if part, ok := first.Parts[from]; ok {
			parts[to] = part
		}
	}
	e, err = newEntry(0, l.app, parts, true)
	if err == nil {
		err = linked(e, first.record())
	}
	e.archived = first.Version == archivedVersion
	return e, true, err
}

// adoptedHash is what the previousHash of a record without a record before it must be.
func adoptedHash(parts map[string][]byte) string {
	if record := parts[partAdopted]; record != nil {
		return hash(record)
	}
	return ""
}

// readAdopted is Read of the record #0.
func (l *Ledger) readAdopted(ctx context.Context) (Entry, error) {
	first, err := l.readRecord(ctx, 1)
	var missing *MissingError
	if err != nil && !errors.As(err, &missing) {
		return Entry{}, err
	}
	e, found, err := l.adoptedIn(first.entry)
	switch {
	case err != nil:
		return e, err
	case !found:
		return e, &MissingError{Seq: 0, Location: l.store.Location()}
	}
	if _, err := l.checked(ctx, first); err != nil {
		return e, fmt.Errorf("#0 is stored with #1: %w", err)
	}
	return e, l.verifySignature(ctx, e)
}
