package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/report"
)

type reportOptions struct {
	*globals
	limit int
	steps string
}

func newReport(g *globals) *cobra.Command {
	o := &reportOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Print the history and what runs as one HTML page",
		Long: `Prints one HTML file, which needs no network, to stdout: a timeline of the releases, what
every role ran in each and whether it was in parity, and for each release the changes, the
failures and the durations of its steps. --steps reads the steps from the file that a
release wrote with --events. Without --steps, only the switches of roles are shown.`,
		Example: `  shipit report > report.html
  shipit report --limit 100 --steps events.jsonl > report.html
  shipit report -o json | jq '.releases[0].steps'`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 1000, "show at most `N` records; 0: all")
	cmd.Flags().StringVar(&o.steps, "steps", "", "read steps from `FILE`, as --events wrote it")
	return cmd
}

func (o *reportOptions) run(ctx context.Context) error {
	if out, ok := o.term.out.(*os.File); ok && o.output == "text" && term.IsTerminal(int(out.Fd())) {
		return &exitError{code: exitUsage, msg: "a page of HTML is not for a terminal", hint: "shipit report > report.html"}
	}
	var events []release.Event
	if o.steps != "" {
		file, err := os.Open(o.steps)
		if err != nil {
			return &usageError{"--steps: " + err.Error()}
		}
		defer file.Close()
		if events, err = report.Events(file); err != nil {
			return err
		}
	}
	s, err := openFromDisk(ctx, o.globals, true)
	if err != nil {
		return err
	}
	defer s.Close()
	records, err := s.Ledger.List(ctx, o.limit, 0)
	if err != nil {
		return deploy.Unchanged(err)
	}
	made := report.New(s.cfg.App, records, events, time.Now())
	if status, err := s.Status(ctx); err == nil { // without it the page says that what runs was not read
		made.Live = report.LiveOf(status.Record)
	}
	addChanges(ctx, s.Ledger, records, made.Releases)
	if o.output == "json" {
		return o.result(made, nil)
	}
	return made.Write(o.term.out)
}

// changesOf is of how many of the newest releases the objects are compared.
const changesOf = 20

// addChanges compares the objects of each of the newest releases with those of the one
// before it. Those of a record that cannot be read are left out.
func addChanges(ctx context.Context, l *ledger.Ledger, records []release.Record, releases []report.Release) {
	entries := make([]ledger.Entry, min(len(records), changesOf+1))
	var group errgroup.Group
	group.SetLimit(4)
	for i := range entries {
		group.Go(func() error {
			if entry, err := l.Read(ctx, records[i].Seq); err == nil {
				entries[i] = entry
			}
			return nil
		})
	}
	_ = group.Wait() // no error is returned
	for i := 0; i+1 < len(entries); i++ {
		if entries[i].Objects != nil && entries[i+1].Objects != nil {
			releases[i].Changes = report.Changes(entries[i+1].Objects, entries[i].Objects)
		}
	}
}
