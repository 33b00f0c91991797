// Package proof tries a built image before anything of it is pushed: every import
// that a role's script leads to must resolve to something that its package
// declares, the base's own runtime must accept the syntax, function ids must have
// one owner, and, if wanted, the program must stay up for a moment.
package proof

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// Subject is a built tree, and what is known of how it will be started.
type Subject struct {
	Image   config.Image
	Closure workspace.Closure
	Scripts []string      // the files that roles start with, from the repository's root
	Roles   []config.Role // those of a cluster that run the image
	Shared  []string      // function ids that may have several owners
	// Committed reports whether the commit has a file or folder; nil knows of none.
	Committed func(path string) bool

	Tree     string   // the built files on disk; no link is in this path itself
	Base     v1.Image // of this machine's platform; nil if there is none
	CacheDir string   // unpacked bases are kept in it
	Progress release.Progress
}

// Run tries the subject. What does not hold is a *release.Refusal; what cannot be
// tried on this machine is a note.
func (s Subject) Run(ctx context.Context) error {
	if len(s.Scripts) == 0 {
		s.report(release.MarkNote, "no script is named by the entrypoint %v, so no import was resolved; prove.entrypoints names some", s.Image.Entrypoint)
		return nil
	}
	started := time.Now()
	findings, err := s.all(ctx)
	if err == nil {
		err = release.Refuse(findings, nil)
	}
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	s.Progress.Report(release.Event{
		Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "every import of " + strings.Join(s.Scripts, ", ") + " resolves", Took: time.Since(started),
	})
	return nil
}

// root is the folder of an image that holds the repository's files.
const root = "/app"

// all is everything that does not hold.
func (s Subject) all(ctx context.Context) ([]release.Finding, error) {
	g, err := s.imports()
	if err != nil || len(g.findings) > 0 {
		return g.findings, err
	}
	root, err := s.base(ctx)
	if err != nil {
		return g.rejected, s.noted(err)
	}
	// What the resolver rejects the runtime may accept: the runtime decides.
	found, err := s.syntax(ctx, root, parsable(g.files))
	if err != nil {
		return g.rejected, s.noted(err)
	}
	if len(found) > 0 {
		return sorted(found), nil
	}
	if found, err = s.functions(ctx, root); err != nil || len(found) > 0 {
		return found, s.noted(err)
	}
	found, err = s.start(ctx, root)
	return found, s.noted(err)
}

// noted lets what cannot be tried on this machine pass with a note.
func (s Subject) noted(err error) error {
	if errors.Is(err, errNotHere) {
		s.report(release.MarkNote, "not tried with the image's own runtime, which %v", err)
		return nil
	}
	return err
}

// Scripts are the files that the roles of an image, whose package is in the folder
// pkg, start with: those named by
// prove.entrypoints, or else the script of the image's entrypoint and of each
// host role's own command. Paths are from the repository's root.
func Scripts(cfg config.Config, image, pkg string) []string {
	img := cfg.Images[image]
	var out []string
	add := func(script string) {
		if script == "" {
			return
		}
		at := path.Join(pkg, script)
		if rooted, ok := strings.CutPrefix(script, root+"/"); ok {
			at = rooted
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	if named := img.Prove.Entrypoints; len(named) > 0 {
		for _, s := range named {
			add(s)
		}
		return out
	}
	add(scriptOf(img.Entrypoint))
	for _, r := range cfg.Roles {
		if r.Image == image && r.Host != nil {
			add(scriptOf(r.Host.Command))
		}
	}
	return out
}

// scriptOf is the first argument that is a JavaScript or TypeScript file.
func scriptOf(command []string) string {
	for _, arg := range command {
		if slices.Contains(scriptExtensions(), path.Ext(arg)) && !strings.HasPrefix(arg, "-") {
			return arg
		}
	}
	return ""
}

func scriptExtensions() []string {
	return []string{".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"}
}

func refusal(code release.Code, object, message, hint string) release.Finding {
	return release.Finding{Code: code, Severity: release.Refuses, Object: object, Message: message, Hint: hint}
}

func (s Subject) report(mark release.Mark, format string, args ...any) {
	s.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: mark, Message: fmt.Sprintf(format, args...)})
}
