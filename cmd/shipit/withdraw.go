package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/console"
)

func newWithdraw(g *globals) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "withdraw SEQ",
		Short: "Mark a release so that it never runs again",
		Long: `Marks the release SEQ as withdrawn. Its record stays as it is; the mark is stored beside
it. shipit never rolls back to a withdrawn release, even if its signatures are valid.`,
		Example: `  shipit withdraw 41 --reason 'leaks the webhook secret'
  shipit withdraw 41 -o json | jq .withdrawn`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{"withdraw takes one sequence number"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := sequence(args)
			if err != nil {
				return err
			}
			return g.withdraw(cmd.Context(), seq, reason)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, stored with the mark")
	return cmd
}

func (g *globals) withdraw(ctx context.Context, seq int64, reason string) error {
	s, err := openFromDisk(ctx, g, true)
	if err != nil {
		return err
	}
	defer s.Close()
	record, err := s.Withdraw(ctx, seq, reason)
	if err != nil {
		return err
	}
	return g.result(record, func(w io.Writer) { console.Record(w, record, g.width()) })
}
