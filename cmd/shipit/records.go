package main

import (
	"context"
	"errors"
	"slices"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// recorded reads a release back from the ledger, with its objects.
func (s *site) recorded(ctx context.Context, seq int64) (release.Release, error) {
	entry, err := s.ledger.Read(ctx, seq)
	return entry.Release(), err
}

// few is how many records are looked at before all are read: what is wanted is
// nearly always among them.
const few = 4

// entry finds a record, ready to be rolled out again, among the newest few or
// else among all. choose gives a *release.NoneError if none is the one.
func (s *site) entry(ctx context.Context, choose func(newest []release.Record) (release.Record, error)) (ledger.Entry, error) {
	recent, err := s.recent(ctx, few)
	if err != nil {
		return ledger.Entry{}, err
	}
	if chosen, err := choose(s.records); err == nil {
		e := recent[slices.IndexFunc(recent, func(e ledger.Entry) bool { return e.Record.Seq == chosen.Seq })]
		return e, s.ledger.Trust(ctx, e)
	}
	if s.records, err = s.ledger.List(ctx); err != nil {
		return ledger.Entry{}, err
	}
	chosen, err := choose(s.records)
	if err != nil {
		return ledger.Entry{}, err
	}
	return s.ledger.Read(ctx, chosen.Seq)
}

// recent reads the newest n records or some more.
func (s *site) recent(ctx context.Context, n int) ([]ledger.Entry, error) {
	entries, err := s.ledger.Recent(ctx, n)
	s.records = nil
	for _, e := range entries {
		s.records = append(s.records, e.Record)
	}
	return entries, err
}

// lastGood is the newest good release before seq; false if there is none.
func (s *site) lastGood(ctx context.Context, seq int64) (release.Release, bool, error) {
	entry, err := s.entry(ctx, func(newest []release.Record) (release.Record, error) {
		for _, r := range newest {
			if r.Seq < seq && r.Good() {
				return r, nil
			}
		}
		return release.Record{}, &release.NoneError{}
	})
	var none *release.NoneError
	if errors.As(err, &none) {
		return release.Release{}, false, nil
	}
	return entry.Release(), err == nil, err
}

// shaOf names the commit of a digest that an earlier release recorded.
func (s *site) shaOf(role, digest string) string { return shaFinder(s.records)(role, digest) }

func shaFinder(records []release.Record) func(role, digest string) string {
	return func(role, digest string) string {
		for _, r := range records {
			for _, rr := range r.Roles {
				known := release.Role{Digest: rr.Digest, Aliases: rr.Aliases}
				if rr.Name == role && known.Runs(digest) {
					return r.SHA
				}
			}
		}
		return ""
	}
}
