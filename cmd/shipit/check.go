package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/actions"
	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/release"
)

type checkOptions struct {
	*globals
	rev   string
	allow allowed
}

func newCheck(g *globals) *cobra.Command {
	o := &checkOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "check [REV]",
		Short: "Check a commit without registry, cluster or host",
		Long: `Checks the tree of REV (default HEAD) without registry, cluster or host: the
configuration, the workspace closure of every image, forbidden references, commands that
install or pull at start, function ids declared twice, probe expressions, and the path
filters of the workflow that calls shipit. Findings name file and line; exit code 2.`,
		Example: `  shipit check
  shipit check -o json | jq -r '.findings[].object'`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	cmd.Flags().Var(&o.allow, "allow", "ignore the finding `CODE` (repeatable)")
	return cmd
}

func (o *checkOptions) run(ctx context.Context) error {
	t, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer t.Close()
	findings, err := check.Commit(ctx, t.source, t.cfg)
	if err != nil {
		return err
	}
	doc := struct {
		App      string            `json:"app"`
		SHA      string            `json:"sha"`
		Findings []release.Finding `json:"findings"`
	}{t.cfg.App, t.source.SHA, findings}
	if err := o.result(doc, func(w io.Writer) { console.Findings(w, findings, o.allow) }); err != nil {
		return err
	}
	if err := actions.Current(o.term.err).ReportFindings("shipit check", findings); err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	if err := release.Refuse(findings, o.allow); err != nil {
		return &printedError{&exitError{code: exitUsage, msg: err.Error(), told: "the commit would not be released"}}
	}
	none := "no findings in "
	if len(findings) > 0 {
		none = "nothing else is wrong with "
	}
	t.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkDone, Message: none + release.Short(t.source.SHA)})
	return nil
}
