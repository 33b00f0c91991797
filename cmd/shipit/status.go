package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func newStatus(g *globals) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Compare what runs with the last good release",
		Long: `Compares what runs now with what the last good release recorded, role by role, by
the digest that the runtime reports and not by what was asked for. Where the roles
report their functions: how many each has, when it last registered, and ids that two
roles have. If there is drift, it is listed and the exit code is 6. --watch goes on
until Ctrl-C, and ends with the code of the last status.`,
		Example: `  shipit status
  shipit status --watch
  shipit status -o json | jq .drift`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.status(cmd.Context(), every) },
	}
	cmd.Flags().DurationVar(&every, "watch", 0, "show it again every `TIME`, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

func (g *globals) status(ctx context.Context, every time.Duration) error {
	session := *g
	if every > 0 {
		session.term.err = io.Discard // nothing is to be written across what is drawn
	}
	s, err := openFromDisk(ctx, &session, true)
	if err != nil {
		return err
	}
	defer s.Close()
	read := func(ctx context.Context) (statusResult, error) {
		status, err := s.Status(ctx)
		return statusResult{status.Record, status.Newest}, deploy.Unchanged(err)
	}
	if every > 0 {
		return g.watch(ctx, every, read)
	}
	result, err := read(ctx)
	if err != nil {
		return err
	}
	if err := g.result(result.document(), func(w io.Writer) { console.Status(w, result.record, result.newest, g.width()) }); err != nil {
		return err
	}
	return result.drifted(nil)
}

// statusResult is what runs beside the last good release, and the newest record.
type statusResult struct{ record, newest release.Record }

// document is what `status -o json` prints.
func (s statusResult) document() any {
	return struct {
		release.Record
		Drift []release.Drift `json:"drift"` // present even when there is none
	}{s.record, s.record.Drift}
}

// drifted is err, or the error of what differs; nil if nothing does.
func (s statusResult) drifted(err error) error {
	if err != nil || len(s.record.Drift) == 0 {
		return err
	}
	return &printedError{&exitError{
		code: exitDrift, msg: s.record.Drift[0].String(), told: "what runs is not what was recorded",
		hint: fmt.Sprintf("shipit rollback --to %d puts the recorded release back; shipit release ships HEAD", s.record.Seq),
	}}
}
