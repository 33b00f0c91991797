package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// A store takes about 1 MiB in one entry. What is larger of a release is split
// into entries of their own, which are stored before the record that names them.
// Their names hold their hash, so that what a killed run has left behind is used
// or ignored, and never mistaken for something else.

const (
	kindPart  = "part"
	partSplit = "split.json"
	partChunk = "chunk"

	chunkSize    = 896 << 10
	chunksAtOnce = 4
	hashLength   = len("sha256:") + 64
)

// split maps the name of a part to its chunks, by hash and in order.
type split map[string][]string

// splitParts moves the largest parts out of an entry until the rest fits, and
// returns the entries that they are stored in.
func splitParts(seq int64, parts map[string][]byte) (rest map[string][]byte, chunks []StoredEntry, err error) {
	rest = maps.Clone(parts)
	moved := split{}
	for sizeOf(rest) > sizeLimit-sizeSpare {
		name := largest(rest)
		if name == "" {
			return nil, nil, &SizeError{Size: sizeOf(rest), Limit: sizeLimit - sizeSpare}
		}
		for chunk := range slices.Chunk(rest[name], chunkSize) {
			moved[name] = append(moved[name], hash(chunk))
			chunks = append(chunks, StoredEntry{Name: chunkName(seq, hash(chunk)), Parts: map[string][]byte{partChunk: chunk}, Sealed: true})
		}
		delete(rest, name)
		if rest[partSplit], err = encode(moved); err != nil {
			return nil, nil, err
		}
	}
	return rest, chunks, nil
}

// largest names the largest part that can be split off; "" if none is worth it.
func largest(parts map[string][]byte) string {
	found := ""
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if name != partRecord && name != partAdopted && name != partSplit && len(parts[name]) > max(len(parts[found]), hashLength) {
			found = name
		}
	}
	return found
}

func chunkName(seq int64, hash string) string {
	return recordName(seq) + "-" + kindPart + "-" + hash[len("sha256:"):][:16]
}

// chunkNames are the entries in which parts of an entry are stored.
func chunkNames(e StoredEntry) []string {
	var moved split
	_ = json.Unmarshal(e.Parts[partSplit], &moved) // what cannot be read is found when it is joined
	var names []string
	for _, part := range slices.Sorted(maps.Keys(moved)) {
		for _, hash := range moved[part] {
			if len(hash) == hashLength {
				names = append(names, chunkName(e.seq(), hash))
			}
		}
	}
	return names
}

// writeChunks writes the entries of split parts. One whose name is taken was stored
// by a run that was killed, and has the same content.
func (l *Ledger) writeChunks(ctx context.Context, chunks []StoredEntry) error {
	return someAtOnce(chunksAtOnce, chunks, func(_ int, chunk StoredEntry) error {
		version, err := l.store.Create(ctx, chunk)
		if err == nil && version == "" {
			var there StoredEntry
			if there, err = l.read(ctx, chunk.Name); err == nil && !bytes.Equal(there.Parts[partChunk], chunk.Parts[partChunk]) {
				err = &ConflictError{Seq: there.seq(), Location: l.store.Location()}
			}
		}
		if err != nil {
			return fmt.Errorf("write part %s: %w", chunk.Name, err)
		}
		return nil
	})
}

// joined is an entry with the parts that were split off. A chunk that is gone or
// altered is an *AlteredError, and its part is missing.
func (l *Ledger) joined(ctx context.Context, e StoredEntry) (StoredEntry, error) {
	return joinParts(e, func(name string) (StoredEntry, error) { return l.lookup(ctx, name) })
}

func joinParts(e StoredEntry, read func(name string) (StoredEntry, error)) (StoredEntry, error) {
	if e.Parts[partSplit] == nil {
		return e, nil
	}
	var moved split
	index := e.Parts[partSplit]
	e.Parts = maps.Clone(e.Parts)
	delete(e.Parts, partSplit)
	if err := json.Unmarshal(index, &moved); err != nil {
		return e, &AlteredError{Seq: e.seq(), Field: partSplit, Message: err.Error()}
	}
	for part, hashes := range moved {
		whole, err := joinChunks(e.seq(), part, hashes, read)
		if err != nil {
			return e, err
		}
		e.Parts[part] = whole
	}
	return e, nil
}

func joinChunks(seq int64, part string, hashes []string, read func(name string) (StoredEntry, error)) ([]byte, error) {
	chunks := make([][]byte, len(hashes))
	err := someAtOnce(chunksAtOnce, hashes, func(i int, want string) error {
		if len(want) != hashLength {
			return &AlteredError{Seq: seq, Field: partSplit, Message: fmt.Sprintf("%q is no hash", want)}
		}
		stored, err := read(chunkName(seq, want))
		if err != nil {
			return err
		}
		chunks[i] = stored.Parts[partChunk]
		if hash(chunks[i]) != want {
			return &AlteredError{Seq: seq, Field: part, Message: "its part " + chunkName(seq, want) + " is gone or altered"}
		}
		return nil
	})
	return bytes.Join(chunks, nil), err
}

// someAtOnce does the same with every item, at most limit at a time, and returns
// the first error in their order.
func someAtOnce[T any](limit int, items []T, do func(i int, item T) error) error {
	errs := make([]error, len(items))
	turns := make(chan struct{}, limit)
	var all sync.WaitGroup
	for i, item := range items {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			errs[i] = do(i, item)
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}
