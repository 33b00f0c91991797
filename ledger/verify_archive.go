package ledger

import (
	"errors"

	"github.com/joelhooks/shipit/release"
)

// archived checks the archive as far as it is among the records that are asked for,
// limit of the newest or all for 0, a segment at a time. It returns those of the
// entries that are not archived: of a move that was killed some may still be there.
func (a *audit) archived(entries []StoredEntry, limit int) ([]StoredEntry, error) {
	l := a.ledger
	if l.opts.Mirror == nil || limit > 0 && (len(entries) >= limit || first(entries).seq() == 1) {
		return entries, nil
	}
	archive, err := l.archive(a.ctx)
	if err != nil {
		a.altered(0, l.store.Location(), err)
		return entries, a.ctx.Err()
	}
	if archive.newest.To == 0 {
		return entries, nil
	}
	a.from = archive.newest.To + 1
	for len(entries) > 0 && entries[0].seq() < a.from {
		entries = entries[1:]
	}
	a.indexCopy(archive.newest)
	after, checked := first(entries).record(), len(entries)
	for _, to := range archive.segments() {
		if limit > 0 && checked >= limit {
			break
		}
		if err := archive.fetch(a.ctx, []int64{to}); err != nil {
			a.altered(to, l.opts.Mirror.Location(), err)
			return entries, a.ctx.Err()
		}
		if after, err = a.segment(archive, archive.read[to], after); err != nil {
			return entries, err
		}
		checked += len(archive.read[to].Records)
		delete(archive.read, to)
	}
	return entries, nil
}

// indexCopy compares the newest index with its copy.
func (a *audit) indexCopy(newest index) {
	e, err := a.ledger.read(a.ctx, indexName(newest.To))
	if err == nil {
		var there map[string][]byte
		if there, err = a.ledger.opts.Mirror.Get(a.ctx, e.Name); err == nil && hash(there[partRecord]) != hash(e.Parts[partRecord]) {
			a.add(newest.To, FaultAltered, a.ledger.opts.Mirror.Location(), kindArchive, "its copy is gone, or is another one")
		}
	}
	if err != nil {
		a.altered(newest.To, a.ledger.opts.Mirror.Location(), err)
	}
}

// segment checks the records of a segment: each by the index, by itself, by its
// signature, and by the one after it. It returns the first of them.
func (a *audit) segment(archive *archive, of index, after release.Record) (release.Record, error) {
	l, location := a.ledger, a.ledger.opts.Mirror.Location()
	found, errs := make([]StoredEntry, len(of.Records)), make([]error, len(of.Records))
	_ = someAtOnce(copiesAtOnce, of.Records, func(i int, r indexed) error {
		found[i], errs[i] = archive.copyOf(a.ctx, r.Record.Seq, of)
		return nil
	})
	var whole []StoredEntry
	var names []string
	for i, err := range errs {
		if err != nil {
			a.altered(of.Records[i].Record.Seq, location, err)
			continue
		}
		whole = append(whole, found[i])
		if l.opts.VerifySignature != nil && found[i].Parts[partSignature] == nil {
			names = append(names, signatureName(found[i].Name))
		}
	}
	signatures, err := a.fetch(names)
	if err != nil {
		return release.Record{}, err
	}
	a.know(location, signatures)
	a.chain(location, whole, func(name string) (StoredEntry, error) { return l.lookup(a.ctx, name) })
	for _, e := range signatures {
		delete(a.signatures, location+" "+e.Name)
	}
	last := of.Records[len(of.Records)-1]
	if after.Previous != last.Record.Seq || after.PreviousHash != last.Hash {
		a.add(last.Record.Seq, FaultAltered, location, "previousHash", "#%d does not follow it", after.Seq)
	}
	if len(whole) == 0 {
		return release.Record{}, errors.Join(a.ctx.Err())
	}
	return whole[0].record(), a.ctx.Err()
}
