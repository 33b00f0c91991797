package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Compare what runs with the last good release",
		Long: `Compares what runs now with what the last good release recorded, role by role, by
the digest that the runtime reports and not by what was asked for. Where the roles
report their functions: how many each has, when it last registered, and ids that two
roles have. If there is drift, it is listed and the exit code is 6.`,
		Example: `  shipit status
  shipit status -o json | jq .drift`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.status(cmd.Context()) },
	}
}

func (g *globals) status(ctx context.Context) error {
	s, err := openFromDisk(ctx, g, true)
	if err != nil {
		return err
	}
	defer s.Close()
	status, err := s.Status(ctx)
	if err != nil {
		return deploy.Unchanged(err)
	}
	record := status.Record
	doc := struct {
		release.Record
		Drift []release.Drift `json:"drift"` // present even when there is none
	}{record, record.Drift}
	if err := g.result(doc, func(w io.Writer) { console.Status(w, record, status.Newest, g.width()) }); err != nil {
		return err
	}
	if len(record.Drift) > 0 {
		return &printedError{&exitError{code: exitDrift, msg: record.Drift[0].String(), told: "what runs is not what was recorded", hint: fmt.Sprintf("shipit rollback --to %d puts the recorded release back; shipit release ships HEAD", record.Seq)}}
	}
	return nil
}
