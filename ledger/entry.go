package ledger

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// The cluster keeps at most 1 MiB in one ConfigMap. A pending record leaves space for
// the autopsy that may be added to it.
const (
	sizeLimit  = 1 << 20
	sizeSpare  = 128 << 10
	objectsMax = 64 << 20 // of one release, unpacked
)

// Entry is a record as it is stored, with what is stored beside it.
type Entry struct {
	Record      release.Record
	Objects     map[string][]json.RawMessage // by role
	Attachments map[string][]byte            // as given to Begin
	Raw         []byte                       // the record's exact bytes: what is hashed and signed
	Signature   []byte                       // nil if it was not signed
	Sealed      bool                         // false while its run goes on, or was killed

	archived bool // it was read from the mirror
}

// Release is the release that the entry tells of, ready to be rolled out again.
func (e Entry) Release() release.Release { return e.Record.Release(e.Objects) }

// newEntry reads the parts of a record. What does not fit together is an
// *AlteredError.
func newEntry(seq int64, app string, parts map[string][]byte, sealed bool) (Entry, error) {
	e := Entry{Raw: parts[partRecord], Signature: parts[partSignature], Sealed: sealed, Attachments: map[string][]byte{}}
	if err := json.Unmarshal(e.Raw, &e.Record); err != nil {
		return e, &AlteredError{Seq: seq, Field: partRecord, Message: err.Error()}
	}
	if e.Record.Seq != seq {
		return e, &AlteredError{Seq: seq, Field: "seq", Message: fmt.Sprintf("it says %d", e.Record.Seq)}
	}
	if e.Record.App != app {
		return e, &AlteredError{Seq: seq, Field: "app", Message: fmt.Sprintf("it says %q", e.Record.App)}
	}
	if e.Record.Previous == 0 && e.Record.PreviousHash != adoptedHash(parts) {
		return e, &AlteredError{Seq: seq, Field: partAdopted, Message: "what ran before the first release is gone, or is not what was stored"}
	}
	if !sealed && needsSeal(e.Record) {
		return e, &AlteredError{Seq: seq, Field: "outcome", Message: fmt.Sprintf("it says %s, and was never sealed", e.Record.Outcome)}
	}
	if _, apart := parts[partSplit]; apart {
		return e, nil // a listing does not read what is stored apart
	}
	objects, err := unpackObjects(parts[partObjects])
	if err != nil {
		return e, &AlteredError{Seq: seq, Field: "objects", Message: err.Error()}
	}
	e.Objects = objects
	if got := e.Release().ObjectsHash(); got != e.Record.ObjectsHash {
		return e, &AlteredError{Seq: seq, Field: "objects", Message: fmt.Sprintf("their hash is %s, the record says %s",
			release.ShortDigest(got), release.ShortDigest(e.Record.ObjectsHash))}
	}
	for name, part := range parts {
		if short, ok := strings.CutPrefix(name, attached); ok {
			e.Attachments[short] = part
		}
	}
	return e, nil
}

// needsSeal reports whether a record's outcome is one that only its seal writes.
func needsSeal(r release.Record) bool {
	return r.Outcome == release.Settled || r.Outcome == release.Restored
}

// Fits is a *SizeError if the objects of a release are more than is stored of one.
func Fits(rel release.Release) error {
	size := 0
	for _, role := range rel.Roles {
		for _, object := range role.Objects {
			size += len(object) + 1
		}
	}
	if size > objectsMax {
		return &SizeError{Size: size, Limit: objectsMax}
	}
	return nil
}

// packObjects compresses the objects of every role. The objects' own bytes are
// stored as they are, because they were hashed as they are.
func packObjects(roles []release.Role) ([]byte, error) {
	var plain bytes.Buffer
	plain.WriteByte('{')
	for _, role := range roles {
		if len(role.Objects) == 0 {
			continue
		}
		if plain.Len() > 1 {
			plain.WriteByte(',')
		}
		fmt.Fprintf(&plain, "%q:[", role.Name)
		for j, object := range role.Objects {
			if !json.Valid(object) {
				return nil, fmt.Errorf("object %d of role %s is no JSON", j+1, role.Name)
			}
			if j > 0 {
				plain.WriteByte(',')
			}
			plain.Write(object)
		}
		plain.WriteByte(']')
	}
	plain.WriteByte('}')
	if plain.Len() > objectsMax {
		return nil, &SizeError{Size: plain.Len(), Limit: objectsMax}
	}

	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain.Bytes()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func unpackObjects(packed []byte) (map[string][]json.RawMessage, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	plain.Grow(unpackedSize(packed))
	if _, err := plain.ReadFrom(io.LimitReader(r, objectsMax)); err != nil {
		return nil, err
	}
	objects := map[string][]json.RawMessage{}
	return objects, json.Unmarshal(plain.Bytes(), &objects)
}

// unpackedSize is what gzip's last four bytes say of the size, but no more than so few
// bytes can hold, and what a buffer needs to see the end.
func unpackedSize(packed []byte) int {
	const bestRatio = 1032
	size := binary.LittleEndian.Uint32(packed[len(packed)-4:])
	return min(int(size), objectsMax, bestRatio*len(packed)) + bytes.MinRead
}

// attach adds attachments to the parts of an entry. Their names become keys of
// a ConfigMap and names of files.
func attach(parts map[string][]byte, attachments map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(attachments)) {
		odd := func(r rune) bool {
			return !strings.ContainsRune("-_.", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}
		if name == "" || strings.ContainsFunc(name, odd) {
			return fmt.Errorf("attachment %q: only letters, digits, dots, dashes and underscores can be in its name", name)
		}
		parts[attached+name] = attachments[name]
	}
	return nil
}

func sizeOf(parts map[string][]byte) int {
	size := 0
	for name, part := range parts {
		size += len(name) + len(part)
	}
	return size
}
