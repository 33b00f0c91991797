package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/release"
)

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Every role: wanted, recorded, live, parity; functions by role",
		Long: `Compares what runs now with what the last good release recorded, role by role, by
the digest that the runtime reports and not by what was asked for. Where the roles
answer for their functions: how many each has, when it last registered, and ids that
two roles claim. Any drift is named, and the exit code is 6.`,
		Example: `  shipit status
  shipit status -o json | jq .drift`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.status(cmd.Context()) },
	}
}

func (g *globals) status(ctx context.Context) error {
	s, err := openFile(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	records, err := s.ledger.List(ctx)
	if err != nil {
		return before(err)
	}
	if len(records) == 0 {
		return before(&codeError{exitRefused, "nothing was released yet", "shipit release"})
	}
	record, err := s.compare(ctx, records)
	if err != nil {
		return before(err)
	}
	doc := struct {
		release.Record
		Drift []release.Drift `json:"drift"` // present even when there is none
	}{record, record.Drift}
	if err := g.result(doc, func(w io.Writer) { statusText(w, record, records[0]) }); err != nil {
		return err
	}
	if len(record.Drift) > 0 {
		return &printedError{&codeError{exitDrift, record.Drift[0].String(), "shipit release or shipit rollback puts the recorded release back"}}
	}
	return nil
}

// compare observes every role and holds it against the release that should be
// running: the newest good one, or if there is none the newest.
func (s *site) compare(ctx context.Context, records []release.Record) (release.Record, error) {
	current, ok := release.Current(records)
	if !ok {
		current = records[0]
	}
	rel, err := s.recorded(ctx, current.Seq)
	if err != nil {
		return release.Record{}, err
	}
	live, err := s.observeAll(ctx, rel)
	if err != nil {
		return release.Record{}, err
	}
	record := current.Observe(rel, live, shaFinder(records))
	if record, err = s.objectDrift(ctx, rel, record); err != nil {
		return release.Record{}, err
	}
	record.Functions, record.Failures = nil, nil
	if functions, err := s.functions(ctx, rel); functions != nil {
		record.Functions = functions
		if err != nil {
			record.Reason = oneLine(err.Error())
		}
	}
	if record.Drift == nil {
		record.Drift = []release.Drift{}
	}
	return record, nil
}

// objectDrift adds what another hand has changed of the objects of a role whose
// image is the right one still.
func (s *site) objectDrift(ctx context.Context, rel release.Release, record release.Record) (release.Record, error) {
	for i, r := range record.Roles {
		role, _ := rel.Role(r.Name)
		if s.places[r.Name] == nil {
			continue // its drift is that it is unknown
		}
		drifts, err := s.target(role).Drift(ctx, role)
		if err != nil {
			return record, fmt.Errorf("compare the objects of %s: %w", r.Name, err)
		}
		if len(drifts) > 0 && r.InParity {
			record.Roles[i].InParity, record.Roles[i].Reason, record.Parity = false, drifts[0].String(), false
		}
		record.Drift = append(record.Drift, drifts...)
	}
	return record, nil
}

func statusText(w io.Writer, r, newest release.Record) {
	fmt.Fprintf(w, "%s %s %s, %s\n", r.App, r.ID(), versionOr(r), parityText(r))
	rolesText(w, r.Roles)
	functionsText(w, r.Functions)
	if newest.Seq != r.Seq {
		fmt.Fprintf(w, "  newest record: %s %s: %s %s\n", newest.ID(), newest.Kind, outcomeText(newest), newest.Reason)
	}
	for _, d := range r.Drift {
		fmt.Fprintf(w, "✗ drift: %s\n", d)
	}
}

func parityText(r release.Record) string {
	if r.Parity {
		return "in parity"
	}
	return fmt.Sprintf("NOT in parity: %d drift(s)", len(r.Drift))
}
