package check

import (
	"context"
	"errors"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// Commit returns everything that is known to be wrong from a commit alone: what Run
// finds, and what makes an image of its packages impossible. The error is that of git
// or of ctx.
func Commit(ctx context.Context, source git.Source, cfg config.Config) ([]release.Finding, error) {
	findings := []release.Finding{}
	closures := map[string][]string{}
	for _, name := range cfg.ImageNames() {
		closure, err := workspace.NewClosure(ctx, source, cfg.Images[name])
		var refusal *release.Refusal
		switch {
		case errors.As(err, &refusal):
			findings = append(findings, refusal.Findings...)
		case err != nil:
			return nil, err
		}
		closures[name] = closure.Paths()
	}
	var absent []*git.MissingObjectError
	more, err := Run(ctx, Input{Config: cfg, Tree: source.Files(ctx).SkipAbsent(&absent), Closures: closures, Keyed: probe.Validate(cfg)})
	for _, a := range absent {
		findings = append(findings, release.Finding{Code: release.CodeNotRead, Severity: release.Warns, Object: a.Path, Message: a.Error()})
	}
	return append(findings, more...), err
}
