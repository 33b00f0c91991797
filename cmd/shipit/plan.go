package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/manifests"
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
	Changes  []change          `json:"changes"`
	Findings []release.Finding `json:"findings"`
	Changed  bool              `json:"changed"` // a release would change something that runs
}

// change is one object that a release would create, alter or remove.
type change struct {
	Role   string `json:"role"`
	Object string `json:"object"`
	Action string `json:"action"`
	Diff   string `json:"diff,omitempty"` // for people; secrets are masked
}

func newPlan(g *globals) *cobra.Command {
	o := &planOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "plan [REV]",
		Short: "Everything that release would do and refuse, changing nothing",
		Long: `Shows what a release of REV (default HEAD) would do: the builds that are needed, how
every object differs from what is live, and what would be refused, with the same codes.
Nothing is pushed, applied or recorded. Exit code 3 if the release would be refused.`,
		Example: `  shipit plan
  shipit plan --exit-code     6 if something would change, 0 if not`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.rev = first(args, "HEAD")
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().Var(&o.allow, "allow", "do not count the finding `CODE` (repeatable)")
	cmd.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit with 6 if something would change")
	return cmd
}

func (o *planOptions) run(ctx context.Context) error {
	t, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer t.Close()
	plan, err := t.plan(ctx)
	if err != nil {
		return before(err)
	}
	if err := o.result(plan, func(w io.Writer) { planText(w, plan) }); err != nil {
		return err
	}
	if err := release.Refuse(plan.Findings, o.allow); err != nil {
		return &printedError{err}
	}
	if o.exitCode && plan.Changed {
		return &printedError{&codeError{code: exitDrift, msg: "a release would change what runs"}}
	}
	return nil
}

func (t *tree) plan(ctx context.Context) (planResult, error) {
	p := planResult{App: t.cfg.App, SHA: t.source.SHA, Version: t.version, Images: []pipeline.Image{}, Changes: []change{}, Findings: []release.Finding{}}
	images, err := t.eachImage(ctx, pipeline.Publisher.Find)
	if err != nil {
		return p, err
	}
	missing := map[string]bool{}
	for _, name := range t.imageNames() {
		missing[name] = images[name].Built
		p.Images = append(p.Images, images[name])
	}
	rel, err := t.compose(ctx, images)
	if err != nil {
		return p, err
	}
	if good, ok := t.lastRecord(ctx); ok {
		p.Running = good.SHA
	}
	findings, err := t.planFindings(ctx, rel, missing)
	if err != nil {
		return p, err
	}
	p.Findings = append(append(p.Findings, t.dropped(rel)...), findings...)
	for _, role := range rel.Roles {
		changes, findings, err := t.target(role).Diff(ctx, rel, role)
		if err != nil {
			return p, fmt.Errorf("compare %s: %w", role.Name, err)
		}
		notes, err := t.notes(role)
		if err != nil {
			return p, err
		}
		findings = append(findings, notes...)
		p.Changes, p.Findings = append(p.Changes, changes...), append(p.Findings, findings...)
	}
	p.Changed = len(p.Changes) > 0
	return p, nil
}

// notes are what is worth knowing of a role's manifests.
func (t *tree) notes(role release.Role) ([]release.Finding, error) {
	cfg, ok := t.cfg.Role(role.Name)
	if !ok || cfg.Kubernetes == nil {
		return nil, nil
	}
	return manifests.Notes(cfg, role.Objects)
}

// tellNotes says what is worth knowing of every role's manifests.
func (t *tree) tellNotes(rel release.Release) error {
	for _, role := range rel.Roles {
		notes, err := t.notes(role)
		if err != nil {
			return err
		}
		for _, n := range notes {
			t.report(release.Event{Phase: release.PhaseCheck, Mark: release.MarkNote, Message: n.String()})
		}
	}
	return nil
}

// planFindings are the findings of a release, less those that only say that an
// image which is still to be pushed is not in the registry.
func (t *tree) planFindings(ctx context.Context, rel release.Release, unpushed map[string]bool) ([]release.Finding, error) {
	t.tried = true // by Diff, all of them
	all, err := t.findings(ctx, rel)
	var kept []release.Finding
	for _, f := range all {
		role, _ := rel.Role(f.Role)
		if f.Code == release.CodeImageNotFound && unpushed[role.Image] {
			continue
		}
		kept = append(kept, f)
	}
	return kept, err
}

// lastRecord is the newest good record; false where there is none or the ledger
// cannot be read: a plan may be made before the first release.
func (s *site) lastRecord(ctx context.Context) (release.Record, bool) {
	entry, err := s.entry(ctx, func(newest []release.Record) (release.Record, error) {
		current, ok := release.Current(newest)
		if !ok {
			return current, &release.NoneError{}
		}
		return current, nil
	})
	return entry.Record, err == nil
}

func planText(w io.Writer, p planResult) {
	fmt.Fprintf(w, "%s %s %s", p.App, release.Short(p.SHA), p.Version)
	if p.Running != "" {
		fmt.Fprintf(w, " (running: %s)", release.Short(p.Running))
	}
	fmt.Fprintln(w)
	for _, i := range p.Images {
		how := "known to the registry"
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
	if !p.Changed {
		fmt.Fprintln(w, "  nothing that runs would change")
	}
	findingsText(w, p.Findings)
}
