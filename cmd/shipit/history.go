package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

type historyOptions struct {
	*globals
	seq   int64
	limit int

	before       int64
	since        time.Duration
	fromRegistry bool
}

// historyPage is how many records are shown unless another limit is asked for.
const historyPage = 50

func newHistory(g *globals) *cobra.Command {
	o := &historyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "history [SEQ]",
		Short: "List records, newest first, or show one with its failure details",
		Example: `  shipit history               the newest 50
  shipit history --before 151  the next page
  shipit history 42            roles, cause, log lines and events of that record
  shipit history 0             what ran before the first release
  shipit history --from-registry   after a cluster was lost; then shipit rollback
  shipit history -o json | jq '.records[] | select(.parity | not)'`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.seq, err = sequence(args); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().IntVarP(&o.limit, "limit", "n", historyPage, "show at most `N` records; 0: all")
	cmd.Flags().Int64Var(&o.before, "before", 0, "show the records before `SEQ`: the next page")
	cmd.Flags().DurationVar(&o.since, "since", 0, "show the records of the last `TIME`, such as 72h")
	cmd.Flags().BoolVar(&o.fromRegistry, "from-registry", false, "first bring back from the registry what the cluster or host has lost")
	return cmd
}

func (o *historyOptions) run(ctx context.Context) error {
	s, err := openFromDisk(ctx, o.globals, true)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.fromRegistry {
		if err := s.Recover(ctx); err != nil {
			return err
		}
	}
	if o.seq >= 0 {
		entry, err := s.Ledger.Read(ctx, o.seq)
		if err != nil {
			return deploy.Unchanged(err)
		}
		return o.result(entry.Record, func(w io.Writer) { console.Record(w, entry.Record, o.width()) })
	}
	records, err := o.list(ctx, s.Ledger)
	if err != nil {
		return deploy.Unchanged(err)
	}
	doc := struct {
		Records []release.Record `json:"records"`
	}{records}
	return o.result(doc, func(w io.Writer) { console.History(w, records, o.width()) })
}

// list reads the page that is asked for.
func (o *historyOptions) list(ctx context.Context, l *ledger.Ledger) ([]release.Record, error) {
	if o.since > 0 {
		return l.ListSince(ctx, time.Now().Add(-o.since), o.limit, o.before)
	}
	return l.List(ctx, o.limit, o.before)
}
