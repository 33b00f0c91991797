package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type planOptions struct {
	*globals
	rev      string
	allow    allowed
	exitCode bool
}

// planResult is what `plan -o json` prints.
type planResult struct {
	App      string            `json:"app"`
	SHA      string            `json:"sha"`
	Version  string            `json:"version"`
	Running  string            `json:"running,omitempty"` // SHA of the last good release
	Images   []pipeline.Image  `json:"images"`
	Changes  []planChange      `json:"changes"`
	Findings []release.Finding `json:"findings"`
	Changed  bool              `json:"changed"` // a release would change something that runs

}

// planChange is a change with its fields as lines for people.
type planChange struct {
	deploy.Change
	Diff string `json:"diff,omitempty"`
}

func newPlan(g *globals) *cobra.Command {
	o := &planOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "plan [REV]",
		Short: "Show what a release would change and what would stop it",
		Long: `Shows what a release of REV (default HEAD) would do: the builds that are needed, how
every object differs from what is live, and what would be refused, with the same codes.
Nothing is pushed, applied or recorded. Exit code 3 if the release would be refused.`,
		Example: `  shipit plan
  shipit plan --exit-code     6 if something would change, 0 if not`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	cmd.Flags().Var(&o.allow, "allow", "ignore the finding `CODE` (repeatable)")
	cmd.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit with 6 if something would change")
	return cmd
}

func (o *planOptions) run(ctx context.Context) error {
	t, engine, err := openCommitWithTargets(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer t.Close()
	defer engine.Close()
	plan, err := o.plan(ctx, t, engine)
	if err != nil {
		return deploy.Unchanged(err)
	}
	if err := o.result(plan, func(w io.Writer) { planText(w, plan, o.allow) }); err != nil {
		return err
	}
	if err := release.Refuse(plan.Findings, o.allow); err != nil {
		return &printedError{&exitError{code: exitRefused, msg: err.Error(), told: "a release would be refused"}}
	}
	if o.exitCode && plan.Changed {
		return &printedError{&exitError{code: exitDrift, msg: "a release would change what runs"}}
	}
	return nil
}

// plan plans the release of a commit; of one that its own tree refuses, only the
// findings are known.
func (o *planOptions) plan(ctx context.Context, t *commit, engine deploy.Engine) (planResult, error) {
	p := planResult{App: t.cfg.App, SHA: t.source.SHA, Version: t.version, Images: []pipeline.Image{}, Changes: []planChange{}, Findings: []release.Finding{}}
	known, err := check.Commit(ctx, t.source, t.cfg)
	if err != nil {
		return p, err
	}
	if release.Refuse(known, o.allow) != nil {
		p.Findings = known
		return p, nil
	}
	read := sync.OnceValues(func() (deploy.History, error) { return engine.Read(ctx) })
	images, err := t.images(ctx, t.publisher(buildFlags{}, read), pipeline.Publisher.FindOrBuild)
	if err != nil {
		return p, err
	}
	unpushed := map[string]bool{}
	for _, name := range t.cfg.ImageNames() {
		unpushed[name] = images[name].Built
		p.Images = append(p.Images, images[name])
	}
	rel, err := t.release(ctx, images)
	if err != nil {
		return p, err
	}
	history, _ := read() // there may be no ledger yet
	plan, err := engine.Plan(ctx, rel, deploy.Terms{Known: known, History: history}, unpushed)
	p.Running, p.Changed = plan.Running, len(plan.Changes) > 0
	p.Findings = append(p.Findings, plan.Findings...)
	for _, c := range plan.Changes {
		p.Changes = append(p.Changes, planChange{c, release.Diff(c.Fields)})
	}
	return p, err
}

func planText(w io.Writer, p planResult, allow []release.Code) {
	fmt.Fprintf(w, "%s %s %s", p.App, release.Short(p.SHA), p.Version)
	if p.Running != "" {
		fmt.Fprintf(w, " (last good release: %s)", release.Short(p.Running))
	}
	fmt.Fprintln(w)
	for _, i := range p.Images {
		how := "already in the registry"
		if i.Built {
			how = "to be pushed"
		}
		fmt.Fprintf(w, "  image %s %s, %s\n", i.Name, release.ShortDigest(i.Digest), how)
	}
	for _, c := range p.Changes {
		fmt.Fprintf(w, "  %s %s %s\n", c.Action, c.Role, c.Object)
		if c.Diff != "" {
			fmt.Fprintln(w, c.Diff)
		}
	}
	if compared := len(p.Images) > 0; compared && !p.Changed {
		fmt.Fprintln(w, "  no changes")
	}
	console.Findings(w, p.Findings, allow)
}
