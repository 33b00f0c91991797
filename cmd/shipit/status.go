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

type statusOptions struct {
	*globals
	every    time.Duration
	repair   bool
	allow    allowed
	waitLock time.Duration
}

func newStatus(g *globals) *cobra.Command {
	o := &statusOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Compare what runs with the last good release",
		Long: `Compares what runs now with what the last good release recorded, role by role, by
the digest that the runtime reports and not by what was asked for. Where the roles
report their functions: how many each has, when it last registered, and ids that two
roles have; and where what runs comes from: folder or image, the release that brought
it, and since when it runs. If there is drift, it is listed and the exit code is 6.
--watch goes on until Ctrl-C, and ends with the code of the last status. --repair puts
back, under the lock, what differs from the record, and nothing else; it writes no
record.`,
		Example: `  shipit status
  shipit status --watch
  shipit status --repair
  shipit status -o json | jq .drift`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.repair && o.every > 0:
				return &usageError{"--repair does not go with --watch"}
			case !o.repair && (len(o.allow) > 0 || o.waitLock > 0):
				return &usageError{"--allow and --wait-lock need --repair"}
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().DurationVar(&o.every, "watch", 0, "show it again every `TIME`, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	cmd.Flags().BoolVar(&o.repair, "repair", false, "put back what differs from the record")
	cmd.Flags().Var(&o.allow, "allow", "with --repair: continue despite the finding `CODE` (repeatable)")
	addWaitLock(cmd.Flags(), &o.waitLock)
	return cmd
}

func (o *statusOptions) run(ctx context.Context) error {
	session := *o.globals
	if o.every > 0 {
		session.term.err = io.Discard // nothing is to be written across what is drawn
	}
	s, err := openFromDisk(ctx, &session, !o.repair)
	if err != nil {
		return err
	}
	defer s.Close()
	read := func(ctx context.Context) (statusResult, error) {
		status, err := s.Status(ctx)
		return statusResult{status}, deploy.Unchanged(err)
	}
	switch {
	case o.every > 0:
		return o.watch(ctx, o.every, read)
	case o.repair:
		s.Engine.Lock = ledger.LockOptions{Wait: o.waitLock}
		read = func(ctx context.Context) (statusResult, error) {
			status, err := s.Repair(ctx, deploy.Terms{Allow: o.allow})
			return statusResult{status}, err
		}
	}
	result, err := read(ctx)
	if err != nil {
		return err
	}
	if err := o.result(result.document(), func(w io.Writer) { console.Status(w, result.Record, result.Newest, o.width()) }); err != nil {
		return err
	}
	return result.drifted(nil)
}

// statusResult is a status with how the command prints it and ends.
type statusResult struct{ deploy.Status }

// document is what `status -o json` prints.
func (s statusResult) document() any {
	return struct {
		release.Record
		Drift    []release.Drift `json:"drift"` // present even when there is none
		Repaired []string        `json:"repaired,omitempty"`
	}{s.Record, s.Record.Drift, s.Repaired}
}

// drifted is err, or the error of what differs; nil if nothing does.
func (s statusResult) drifted(err error) error {
	if err != nil || len(s.Record.Drift) == 0 {
		return err
	}
	return &printedError{&exitError{
		code: exitDrift, msg: s.Record.Drift[0].String(), told: "what runs is not what was recorded",
		hint: "shipit status --repair puts back what was recorded; shipit release ships HEAD",
	}}
}
