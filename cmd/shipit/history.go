package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

type historyOptions struct {
	*globals
	seq   int64
	limit int
}

func newHistory(g *globals) *cobra.Command {
	o := &historyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "history [SEQ]",
		Short: "List records, newest first, or show one with its failure details",
		Example: `  shipit history
  shipit history 42            roles, cause, log lines and events of that record
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
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 0, "show at most `N` records (default: all)")
	return cmd
}

func (o *historyOptions) run(ctx context.Context) error {
	s, err := openFromDisk(ctx, o.globals, true)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.seq > 0 {
		entry, err := s.Ledger.Read(ctx, o.seq)
		if err != nil {
			return deploy.Unchanged(err)
		}
		return o.result(entry.Record, func(w io.Writer) { recordText(w, entry.Record) })
	}
	records, err := s.Ledger.List(ctx)
	if err != nil {
		return deploy.Unchanged(err)
	}
	if o.limit > 0 && len(records) > o.limit {
		records = records[:o.limit]
	}
	if records == nil {
		records = []release.Record{}
	}
	doc := struct {
		Records []release.Record `json:"records"`
	}{records}
	return o.result(doc, func(w io.Writer) { recordsText(w, records) })
}
