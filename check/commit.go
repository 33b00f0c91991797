package check

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// Commit returns everything that is known to be wrong from a commit alone, of all
// images and roles: what Run finds, what makes an image of its packages impossible,
// and what is wrong with the manifests. The error is that of git or of ctx.
func Commit(ctx context.Context, source git.Source, cfg config.Config) ([]release.Finding, error) {
	var keyed []release.Finding
	found := []release.Finding{}
	closures := map[string][]string{}
	for _, name := range cfg.ImageNames() {
		closure, err := workspace.NewInstallable(ctx, source, cfg.Images[name])
		var refusal *release.Refusal
		switch {
		case errors.As(err, &refusal):
			found = append(found, refusal.Findings...)
		case err != nil:
			return nil, err
		}
		pointers, err := closure.LFSPointers(ctx, source)
		if err != nil && !absent(err) {
			return nil, err
		}
		found = append(found, pointers...)
		keyed = append(keyed, notInstalled(name, cfg.Images[name], closure)...)
		closures[name] = closure.Paths()
	}
	rendered, err := manifests.Check(cfg, source.Files(ctx))
	if err != nil && !absent(err) {
		return nil, err
	}
	var missing []*git.MissingObjectError
	more, err := Run(ctx, Input{
		Config: cfg, Tree: source.Files(ctx).SkipAbsent(&missing), Closures: closures, Keyed: append(keyed, probe.Validate(cfg)...),
	})
	for _, a := range missing {
		found = append(found, release.Finding{Code: release.CodeNotRead, Severity: release.Warns, Object: a.Path, Message: "object " + a.ID + " " + a.Reason})
	}
	return once(slices.Concat(found, rendered, more)), err
}

// absent reports whether this clone does not have the content of a file: what needs
// it cannot be checked here.
func absent(err error) bool {
	var missing *git.MissingObjectError
	return errors.As(err, &missing)
}

// once drops what was found for several images or roles.
func once(findings []release.Finding) []release.Finding {
	seen := map[release.Finding]bool{}
	return slices.DeleteFunc(findings, func(f release.Finding) bool {
		again := seen[f]
		seen[f] = true
		return again
	})
}

// notInstalled warns of an image whose packages need others that nothing installs. They
// may be needed for types only, which the proof of the image tells.
func notInstalled(name string, img config.Image, closure workspace.Closure) []release.Finding {
	needs := closure.External()
	if len(img.Run) > 0 || len(needs) == 0 {
		return nil
	}
	more := ""
	if len(needs) > 1 {
		more = fmt.Sprintf(" and %d more", len(needs)-1)
	}
	return []release.Finding{{
		Code: release.CodeRunMissing, Severity: release.Warns, Object: "images." + name,
		Message: fmt.Sprintf("%s depends on %s%s, and no command of run installs it", path.Join(needs[0].From, "package.json"), needs[0].Name, more),
		Hint:    "name the command that installs from the lockfile in images." + name + ".run",
	}}
}
