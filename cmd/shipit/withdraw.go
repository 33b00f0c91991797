package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newWithdraw(g *globals) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "withdraw SEQ",
		Short: "Mark a release so that it never runs again",
		Long: `Marks the release SEQ as withdrawn. Its record stays as it is; the mark is kept beside
it. A withdrawn release is never rolled back to, however validly it is signed.`,
		Example: `  shipit withdraw 41 --reason 'leaks the webhook secret'`,
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
	cmd.Flags().StringVar(&reason, "reason", "", "why, kept with the mark")
	return cmd
}

func (g *globals) withdraw(ctx context.Context, seq int64, reason string) error {
	s, err := openFile(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	lock, err := s.lock(ctx)
	if err != nil {
		return before(err)
	}
	defer s.unlock(lock)
	if err := s.ledger.Withdraw(ctx, lock, seq, reason); err != nil {
		return before(fmt.Errorf("withdraw #%d: %w", seq, err))
	}
	entry, err := s.ledger.Read(ctx, seq)
	if err != nil {
		return err
	}
	return g.result(entry.Record, func(w io.Writer) { recordText(w, entry.Record) })
}
