package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type verifyOptions struct {
	*globals
	seq     int64
	rebuild bool
	attest  bool
}

// verified is one thing that verify looked at.
type verified struct {
	Check  string `json:"check"` // chain, copy, signature, live, rebuild
	Object string `json:"object"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func newVerify(g *globals) *cobra.Command {
	o := &verifyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "verify [SEQ]",
		Short: "Signatures, provenance, the chain, and that what runs is what was recorded",
		Long: `Verifies the release SEQ (default: the one that should be running): the chain of
records and their copies, the record's signature, every image's signature and provenance
as the policy demands them, and, for the running one, that what runs is what was recorded.
--rebuild builds the recorded commit again from source and compares diffIDs and config.
Exit code 3 if something is not what it should be, 6 if only what runs has drifted.`,
		Example: `  shipit verify
  shipit verify 41
  shipit verify --rebuild         prove the image from source`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.seq, err = sequence(args); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&o.rebuild, "rebuild", false, "build the recorded commit again and compare")
	cmd.Flags().BoolVar(&o.attest, "attest", false, "with --rebuild: attach the claim that it came out equal")
	return cmd
}

func (o *verifyOptions) run(ctx context.Context) error {
	s, err := openFile(ctx, o.globals)
	if err != nil {
		return err
	}
	defer s.Close()
	faults, err := s.ledger.Verify(ctx)
	if err != nil {
		return before(err)
	}
	checks := chainChecks(faults)
	records, err := s.ledger.List(ctx)
	if err != nil && len(faults) == 0 {
		return before(err)
	}
	entry, err := s.chosen(ctx, records, o.seq)
	if err != nil {
		return before(err)
	}
	checks = append(checks, s.imageChecks(ctx, entry)...)
	live, err := s.liveChecks(ctx, entry, records)
	if err != nil {
		return before(err)
	}
	checks = append(checks, live...)
	if o.rebuild {
		checks = append(checks, o.rebuilt(ctx, entry)...)
	}
	return o.verdict(entry.Record, checks)
}

// chosen is the entry of seq, or for 0 the one that should be running.
func (s *site) chosen(ctx context.Context, records []release.Record, seq int64) (ledger.Entry, error) {
	if seq == 0 {
		current, ok := release.Current(records)
		if !ok {
			return ledger.Entry{}, &codeError{exitRefused, "no good release to verify", "name one by its sequence number; shipit history"}
		}
		seq = current.Seq
	}
	return s.ledger.Read(ctx, seq)
}

func chainChecks(faults []ledger.Fault) []verified {
	if len(faults) == 0 {
		return []verified{{Check: "chain", Object: "records", OK: true, Detail: "every record is what was once kept, and follows the one before"}}
	}
	var checks []verified
	for _, f := range faults {
		// A copy that was not made yet is no altered record.
		checks = append(checks, verified{Check: "chain", Object: fmt.Sprintf("#%d", f.Seq), OK: f.Kind == ledger.FaultUncopied, Detail: f.String()})
	}
	return checks
}

func (s *site) imageChecks(ctx context.Context, entry ledger.Entry) []verified {
	rel := entry.Release()
	if !s.notary.Demands() {
		return []verified{{Check: "signature", Object: entry.Record.ID(), OK: true, Detail: "no policy demands one"}}
	}
	var checks []verified
	for _, role := range rel.Roles {
		got, err := s.notary.Verify(ctx, role.Reference(), attest.Expect{Recorded: true})
		v := verified{Check: "signature", Object: role.Name + " " + role.Reference(), OK: err == nil}
		if err != nil {
			v.Detail = oneLine(err.Error())
		}
		for _, b := range got.Bundles {
			v.Detail += fmt.Sprintf("%s by %s; ", b.Predicate, b.Signer)
		}
		checks = append(checks, v)
	}
	return checks
}

// liveChecks holds what runs against the entry, if it is the one that should run.
func (s *site) liveChecks(ctx context.Context, entry ledger.Entry, records []release.Record) ([]verified, error) {
	current, ok := release.Current(records)
	if !ok || current.Seq != entry.Record.Seq {
		return nil, nil
	}
	record, err := s.compare(ctx, records)
	if err != nil {
		return nil, err
	}
	var checks []verified
	for _, r := range record.Roles {
		v := verified{Check: "live", Object: r.Name, OK: r.InParity, Detail: r.LiveDigest}
		if !r.InParity {
			v.Detail = r.Reason
		}
		checks = append(checks, v)
	}
	return checks, nil
}

// rebuilt builds every image of the recorded commit again, without caches.
func (o *verifyOptions) rebuilt(ctx context.Context, entry ledger.Entry) []verified {
	t, err := openTree(ctx, o.globals, entry.Record.SHA)
	if err != nil {
		return []verified{{Check: "rebuild", Object: entry.Record.ID(), Detail: oneLine(err.Error())}}
	}
	defer t.Close()
	var checks []verified
	seen := map[string]bool{}
	for _, role := range entry.Release().Roles {
		if seen[role.Image] {
			continue
		}
		seen[role.Image] = true
		v := verified{Check: "rebuild", Object: role.Image + " " + role.Reference()}
		diff, err := t.rebuild(ctx, role)
		switch {
		case err != nil:
			v.Detail = oneLine(err.Error())
		case !diff.Same():
			v.Detail = "differs: " + diff.String()
		default:
			v.OK, v.Detail = true, "built again from "+release.Short(t.source.SHA)+": diffIDs and config are equal"
			if o.attest {
				_, _, err = t.notary.Attest(ctx, role.Reference(), attest.RebuildType, attest.Rebuild{Repository: t.cfg.Source, SHA: t.source.SHA, Builder: t.cfg.Builder, Version: version()})
				v.OK = err == nil
			}
		}
		checks = append(checks, v)
	}
	return checks
}

func (t *tree) rebuild(ctx context.Context, role release.Role) (attest.Difference, error) {
	in, err := pipeline.Resolve(ctx, t.source, t.cfg, role.Image)
	if err != nil {
		return attest.Difference{}, err
	}
	return t.publisher().Rebuild(ctx, in, role.Reference())
}

func (o *verifyOptions) verdict(record release.Record, checks []verified) error {
	code := exitOK
	var first string
	for _, c := range checks {
		if c.OK {
			continue
		}
		if first == "" {
			first = c.Check + " " + c.Object + ": " + c.Detail
		}
		if c.Check == "live" && code == exitOK {
			code = exitDrift
		} else if c.Check != "live" {
			code = exitRefused
		}
	}
	doc := struct {
		release.Record
		Verified bool       `json:"verified"`
		Checks   []verified `json:"checks"`
	}{record, code == exitOK, checks}
	err := o.result(doc, func(w io.Writer) {
		for _, c := range checks {
			sign := map[bool]string{true: "✓", false: "✗"}[c.OK]
			fmt.Fprintf(w, "%s %-9s %s: %s\n", sign, c.Check, c.Object, c.Detail)
		}
	})
	if err != nil || code == exitOK {
		return err
	}
	return &printedError{&codeError{code: code, msg: first}}
}
