package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/probe"
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
		RunE: func(cmd *cobra.Command, args []string) error {
			o.rev = argOr(args, "HEAD")
			return o.run(cmd.Context())
		},
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
	findings, err := t.check(ctx)
	if err != nil {
		return err
	}
	doc := struct {
		App      string            `json:"app"`
		SHA      string            `json:"sha"`
		Findings []release.Finding `json:"findings"`
	}{t.cfg.App, t.source.SHA, findings}
	if err := o.result(doc, func(w io.Writer) { findingsText(w, findings) }); err != nil {
		return err
	}
	if err := actionsOf(o.globals).reportFindings("shipit check", findings); err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	if err := release.Refuse(findings, o.allow); err != nil {
		return &printedError{&exitError{code: exitUsage, msg: err.Error()}}
	}
	t.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkDone, Message: "no findings in " + release.Short(t.source.SHA)})
	return nil
}

func (t *commit) check(ctx context.Context) ([]release.Finding, error) {
	findings := append([]release.Finding{}, zeroBase(t.cfg)...)
	closures := map[string][]string{}
	for _, name := range t.imageNames() {
		closure, err := workspace.NewClosure(ctx, t.source, t.cfg.Images[name])
		var refusal *release.Refusal
		switch {
		case errors.As(err, &refusal):
			findings = append(findings, refusal.Findings...)
		case err != nil:
			return nil, err
		}
		closures[name] = closure.Paths()
	}
	files := t.files(ctx)
	files.missing = &[]*git.MissingObjectError{}
	more, err := check.Run(ctx, check.Input{Config: t.cfg, Tree: files, Closures: closures, Keyed: probe.Validate(t.cfg)})
	for _, absent := range *files.missing {
		findings = append(findings, release.Finding{Code: release.CodeNotRead, Severity: release.Warns, Object: absent.Path, Message: absent.Error()})
	}
	return append(findings, more...), err
}
