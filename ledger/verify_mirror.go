package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// copiesAtOnce are read from a registry, which answers slowly.
const copiesAtOnce = 8

// copies compares what is stored with the mirror: the copies among themselves,
// and each with the entry of its name. Where the newest records are meant they are
// asked for by name; for all, limit 0, the mirror lists what it has.
func (a *audit) copies(entries []StoredEntry, limit int) error {
	mirror := a.ledger.opts.Mirror
	known := map[string]bool{}
	var names []string
	for _, k := range entries {
		known[k.Name] = true
		names = append(names, k.Name)
		if signature := signatureName(k.Name); a.ledger.signed() && k.Sealed && Kind(k.Name) != kindSignature {
			names = append(names, signature)
		}
	}
	if limit <= 0 {
		listed, err := mirror.Names(a.ctx)
		if err != nil {
			return fmt.Errorf("list the copies in %s: %w", mirror.Location(), err)
		}
		names = append(names, slices.DeleteFunc(listed, func(name string) bool {
			return Kind(name) == kindArchive || outOfStore(name, a.from-1) && !known[name]
		})...)
	}
	slices.Sort(names)
	found, err := a.fetch(slices.Compact(names))
	if err != nil {
		return err
	}
	copies := a.copyChain(found)
	for _, k := range entries {
		c, copied := copies[k.Name]
		switch {
		case copied:
			a.compare(k, c)
		case k.Sealed:
			a.add(k.seq(), FaultUncopied, mirror.Location(), k.what(""), "there is no copy")
		}
	}
	for _, c := range found {
		if !known[c.Name] {
			a.add(c.seq(), FaultMissing, a.ledger.store.Location(), c.what(""), "%s has a copy of it", mirror.Location())
		}
	}
	return nil
}

// copyChain checks copies among themselves, and returns them by name.
func (a *audit) copyChain(found []StoredEntry) map[string]StoredEntry {
	location := a.ledger.opts.Mirror.Location()
	a.know(location, found)
	records := slices.DeleteFunc(slices.Clone(found), func(k StoredEntry) bool { return k.Name != recordName(k.seq()) })
	slices.SortFunc(records, func(x, y StoredEntry) int { return cmp.Compare(x.seq(), y.seq()) })
	copies := map[string]StoredEntry{}
	for _, c := range found {
		copies[c.Name] = c
	}
	a.chain(location, records, func(name string) (StoredEntry, error) { return copies[name], nil })
	return copies
}

func (a *audit) fetch(names []string) ([]StoredEntry, error) {
	found, errs := make([]StoredEntry, len(names)), make([]error, len(names))
	_ = someAtOnce(copiesAtOnce, names, func(i int, name string) error {
		parts, err := a.ledger.opts.Mirror.Get(a.ctx, name)
		found[i], errs[i] = StoredEntry{Name: name, Parts: parts, Version: name, Sealed: true}, err
		return nil
	})
	for i, err := range errs {
		if a.ctx.Err() != nil {
			return nil, a.ctx.Err()
		}
		if err != nil {
			a.add(found[i].seq(), FaultAltered, a.ledger.opts.Mirror.Location(), "", "%v", err)
		}
	}
	return slices.DeleteFunc(found, func(k StoredEntry) bool { return k.Parts == nil }), nil
}

// compare names what differs between an entry and its copy. Which of the two was
// altered is known where the chain or a signature speaks against one of them.
func (a *audit) compare(k, c StoredEntry) {
	if maps.EqualFunc(k.Parts, c.Parts, bytes.Equal) {
		return
	}
	store, mirror := a.ledger.store.Location(), a.ledger.opts.Mirror.Location()
	location := store + " or " + mirror
	switch suspectStore, suspectMirror := a.suspects(k.seq(), store), a.suspects(k.seq(), mirror); {
	case suspectStore && suspectMirror:
		location = store + " and " + mirror
	case suspectStore:
		location = store
	case suspectMirror:
		location = mirror
	}
	for _, part := range unionOf(k.Parts, c.Parts) {
		if part == partRecord || bytes.Equal(k.Parts[part], c.Parts[part]) {
			continue
		}
		a.add(k.seq(), FaultAltered, location, k.what(part), "%s and %s have different bytes", store, mirror)
	}
	here, there := fieldsOf(k.Parts[partRecord]), fieldsOf(c.Parts[partRecord])
	for _, field := range unionOf(here, there) {
		if !bytes.Equal(here[field], there[field]) {
			a.add(k.seq(), FaultAltered, location, k.what(field), "%s in %s, %s in %s", value(here[field]), store, value(there[field]), mirror)
		}
	}
}

func (a *audit) suspects(seq int64, location string) bool {
	return slices.ContainsFunc(a.faults, func(f Fault) bool {
		return f.Seq == seq && f.Location == location && f.Kind == FaultAltered
	})
}

// fieldsOf splits a record into its JSON fields, each in its plainest form.
func fieldsOf(raw []byte) map[string][]byte {
	var whole map[string]json.RawMessage
	if json.Unmarshal(raw, &whole) != nil {
		return map[string][]byte{partRecord: raw}
	}
	fields := make(map[string][]byte, len(whole))
	for name, v := range whole {
		var plain bytes.Buffer
		if json.Compact(&plain, v) == nil {
			fields[name] = plain.Bytes()
		}
	}
	return fields
}

// value is a field's value, short enough for a line.
func value(b []byte) string {
	const longest = 60
	switch {
	case b == nil:
		return "nothing"
	case len(b) > longest:
		return string(b[:longest]) + "…"
	default:
		return string(b)
	}
}

func unionOf(x, y map[string][]byte) []string {
	names := slices.Collect(maps.Keys(x))
	for name := range y {
		if _, dup := x[name]; !dup {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
