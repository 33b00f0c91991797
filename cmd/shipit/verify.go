package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type verifyOptions struct {
	*globals
	seq     int64
	records int
	rebuild bool
	attest  bool
}

func newVerify(g *globals) *cobra.Command {
	o := &verifyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "verify [SEQ]",
		Short: "Verify signatures, provenance, the record chain and what runs",
		Long: `Verifies the release SEQ (default: the one that should be running): the chain of
records and their copies, the record's signature, every image's signature and provenance
as the policy requires, and, for the running one, that what runs is what was recorded.
--rebuild builds the recorded commit again from source and compares diffIDs and config.
Exit code 3 if a check fails, 6 if the only difference is in what runs.`,
		Example: `  shipit verify
  shipit verify 41
  shipit verify --rebuild         prove the image from source`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.seq, err = sequence(args); err != nil {
				return err
			}
			if o.attest && !o.rebuild {
				return &usageError{"--attest needs --rebuild"}
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&o.records, "records", 100, "check the chain of the newest `N` records; 0: all")
	cmd.Flags().BoolVar(&o.rebuild, "rebuild", false, "build the recorded commit again and compare")
	cmd.Flags().BoolVar(&o.attest, "attest", false, "with --rebuild: attach an attestation that the rebuild is identical")
	return cmd
}

func (o *verifyOptions) run(ctx context.Context) error {
	s, err := openFromDisk(ctx, o.globals, true)
	if err != nil {
		return err
	}
	defer s.Close()
	entry, checks, err := s.Verify(ctx, o.seq, o.records)
	if err != nil {
		return deploy.Unchanged(err)
	}
	if o.rebuild {
		checks = append(checks, o.rebuilt(ctx, entry)...)
	}
	return o.verdict(entry.Record, checks)
}

// rebuilt builds every image of the recorded commit again, without caches.
func (o *verifyOptions) rebuilt(ctx context.Context, entry ledger.Entry) []deploy.Check {
	if entry.Record.Adopted {
		return deploy.RebuildChecks(entry, nil)
	}
	t, err := openCommit(ctx, o.globals, entry.Record.SHA)
	if err != nil {
		return []deploy.Check{{Subject: deploy.SubjectRebuild, Object: entry.Record.ID(), Detail: release.OneLine(err.Error())}}
	}
	defer t.Close()
	return deploy.RebuildChecks(entry, func(role release.Role) (string, error) { return o.rebuildImage(ctx, t, role) })
}

// rebuildImage compares an image with what its source gives, and attests it if asked to.
func (o *verifyOptions) rebuildImage(ctx context.Context, t *commit, role release.Role) (string, error) {
	in, err := pipeline.Resolve(ctx, t.source, t.cfg, role.Image)
	if err != nil {
		return "", err
	}
	diff, err := t.publisher(buildFlags{}, nil).Rebuild(ctx, in, role.Reference())
	if err != nil {
		return "", err
	}
	if !diff.Same() {
		return "", fmt.Errorf("differs: %s", diff)
	}
	if o.attest {
		predicate := attest.Rebuild{Repository: t.cfg.Source, SHA: t.source.SHA, Builder: t.cfg.Builder, Version: version()}
		if _, _, err := t.attestor.Attest(ctx, role.Reference(), attest.RebuildType, predicate); err != nil {
			return "", fmt.Errorf("the rebuild is identical, but attaching the attestation failed: %w", err)
		}
	}
	return "rebuilt from " + release.Short(t.source.SHA) + ": identical diffIDs and config", nil
}

func (o *verifyOptions) verdict(record release.Record, checks []deploy.Check) error {
	code := exitOK
	var first string
	for _, c := range checks {
		if c.OK {
			continue
		}
		if first == "" {
			first = string(c.Subject) + " " + c.Object + ": " + c.Detail
		}
		if c.Subject == deploy.SubjectLive && code == exitOK {
			code = exitDrift
		} else if c.Subject != deploy.SubjectLive {
			code = exitRefused
		}
	}
	doc := struct {
		release.Record
		Verified bool           `json:"verified"`
		Checks   []deploy.Check `json:"checks"`
	}{record, code == exitOK, checks}
	err := o.result(doc, func(w io.Writer) {
		for _, c := range checks {
			sign := map[bool]string{true: "✓", false: "✗"}[c.OK]
			fmt.Fprintf(w, "%s %-9s %s: %s\n", sign, c.Subject, c.Object, c.Detail)
		}
	})
	if err != nil || code == exitOK {
		return err
	}
	return &printedError{&exitError{code: code, msg: first}}
}
