package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

type rollbackOptions struct {
	*globals
	to string
	rolloutFlags
}

func newRollback(g *globals) *cobra.Command {
	o := &rollbackOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Roll back to an earlier good release",
		Long: `Rolls back to the newest earlier good release, or to the one given with --to. It
needs no git and no build. A release is good if it settled in parity and was not
withdrawn. The rollback gets a record of its own. #0 is what ran before the first
release, where something did.`,
		Example: `  shipit rollback                 to the newest earlier good release
  shipit rollback --to 42         to that sequence number
  shipit rollback --to 0          to what ran before the first release
  shipit rollback --to 4f2a91c    to that commit
  shipit rollback --to '~1.4'     to the newest good 1.4.x`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&o.to, "to", "", "`SHA|SEQ|VERSION`, or a version constraint such as ~1.4")
	o.add(cmd.Flags())
	return cmd
}

func (o *rollbackOptions) run(ctx context.Context) error {
	// A malformed --to is rejected before anything is connected.
	if _, err := release.Choose(nil, o.to); isUsage(err) {
		return err
	}
	o.notified.command = "rollback"
	s, err := openFromDisk(ctx, o.globals, false)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Engine.Lock = ledger.LockOptions{Wait: o.waitLock}
	record, err := s.Rollback(ctx, o.to, o.terms())
	return o.conclude(record, err)
}
