package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/release"
)

type releaseOptions struct {
	*globals
	rev       string
	allow     allowed
	noRestore bool
}

func newRelease(g *globals) *cobra.Command {
	o := &releaseOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "release [REV]",
		Short: "Build, push, sign, apply, wait, verify and record one commit",
		Long: `Carries the commit REV (default HEAD) to every role of shipit.yaml and proves
that it got there. The working directory is never read: what is not committed is
not released. If a role fails, all roles go back to the last good release.

` + exitHelp,
		Example: `  shipit release                    the commit that HEAD names
  shipit release v1.4.2 -o json     a tag; the record as JSON on stdout
  shipit release --timeout 2m --events events.jsonl`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.rev = first(args, "HEAD")
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().Var(&o.allow, "allow", "go on in spite of the finding `CODE` (repeatable)")
	cmd.Flags().BoolVar(&o.noRestore, "no-restore", false, "leave a failed rollout as it is, for inspection")
	return cmd
}

func (o *releaseOptions) run(ctx context.Context) error {
	s, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer s.Close()
	s.noRestore = o.noRestore

	rel, err := s.published(ctx)
	if err != nil {
		return before(err)
	}
	if err := s.tellNotes(rel); err != nil {
		return before(err)
	}
	if err := s.refuse(ctx, rel, s.judge, o.allow); err != nil {
		return before(err)
	}
	record, err := roll(ctx, s.site, rel)
	return o.conclude(record, err)
}

// published is publish, and while that is under way a look at the ledger. What
// keeps it from being looked at is told when it is needed.
func (t *tree) published(ctx context.Context) (rel release.Release, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { _, _ = t.recent(gctx, 1); return nil })
	group.Go(func() (err error) { rel, err = t.publish(gctx); return err })
	return rel, group.Wait()
}

// conclude prints the record of a roll, if there is one, and passes its error on.
func (g *globals) conclude(record release.Record, err error) error {
	if record.App == "" {
		return err
	}
	if perr := g.result(record, func(w io.Writer) { recordText(w, record) }); perr != nil && err == nil {
		return perr
	}
	if aerr := actionsOf(g).tell(record, err); aerr != nil && err == nil {
		return fmt.Errorf("write the job's summary and outputs: %w", aerr)
	}
	if err != nil {
		return &printedError{err}
	}
	return nil
}
