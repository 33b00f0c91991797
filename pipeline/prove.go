package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// scripts are the files that the roles of the image start with: those named by
// prove.entrypoints, or else the script of the image's entrypoint and of each
// host role's own command. Paths are from the repository's root.
func scripts(in Inputs, cfg config.Config) []string {
	var out []string
	add := func(script string) {
		if script == "" {
			return
		}
		at := path.Join(in.Closure.Package, script)
		if rooted, ok := strings.CutPrefix(script, Root+"/"); ok {
			at = rooted
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	if named := in.Image.Prove.Entrypoints; len(named) > 0 {
		for _, s := range named {
			add(s)
		}
		return out
	}
	add(scriptOf(in.Image.Entrypoint))
	for _, r := range cfg.Roles {
		if r.Image == in.Name && r.Host != nil {
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

// prove tries the built content before anything of it is pushed: every import
// that a role's script leads to must resolve to something that its package
// declares, the base's own runtime must accept the syntax, and, if wanted, the
// entrypoint must stay up for a moment. What does not hold is a *release.Refusal.
func prove(ctx context.Context, in Inputs, list []platform, c Content, opts Options) error {
	if in.Image.Prove.Skip || opts.unproven {
		return nil
	}
	started := time.Now()
	if len(in.scripts) == 0 {
		opts.report(release.MarkNote, "no script is named by the entrypoint %v, so no import was resolved; prove.entrypoints names some", in.Image.Entrypoint)
		return nil
	}
	tree, done, err := onDisk(ctx, c)
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	defer done()
	p := proof{in: in, tree: tree, opts: opts}
	findings, err := p.all(ctx, list)
	if err == nil {
		err = release.Refuse(findings, nil)
	}
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	opts.Progress.Report(release.Event{
		Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "every import of " + strings.Join(in.scripts, ", ") + " resolves", Took: time.Since(started),
	})
	return nil
}

// all is everything that does not hold.
func (p proof) all(ctx context.Context, list []platform) ([]release.Finding, error) {
	g, err := p.imports()
	if err != nil || len(g.findings) > 0 {
		return g.findings, err
	}
	root, err := p.base(ctx, list)
	if err != nil {
		return g.rejected, p.only(err)
	}
	// The runtime has the last word on what it can read.
	found, err := p.syntax(ctx, root, own(g.files))
	if err != nil {
		return g.rejected, p.only(err)
	}
	if len(found) > 0 {
		return sorted(found), nil
	}
	if found, err = p.functions(ctx, root); err != nil || len(found) > 0 {
		return found, p.only(err)
	}
	found, err = p.start(ctx, root)
	return found, p.only(err)
}

// only lets what cannot be tried on this machine pass with a note.
func (p proof) only(err error) error {
	if errors.Is(err, errNotHere) {
		p.opts.report(release.MarkNote, "not tried with the image's own runtime, which %v", err)
		return nil
	}
	return err
}

// proof is one built tree while it is tried.
type proof struct {
	in   Inputs
	tree string // on disk, without links in its own path
	opts Options
}

// onDisk is the content as a folder, and what to call when it is not needed any
// more. The tree that commands have run in is used where it lies.
func onDisk(ctx context.Context, c Content) (string, func(), error) {
	if c.dir != "" {
		dir, err := filepath.EvalSymlinks(c.dir)
		return dir, func() {}, err
	}
	tmp, err := os.MkdirTemp("", "shipit-prove-")
	if err != nil {
		return "", nil, err
	}
	done := func() { _ = removeAll(tmp) }
	dir, err := filepath.EvalSymlinks(tmp)
	if err == nil {
		dir = filepath.Join(dir, "app")
		if err = mkdir(dir); err == nil {
			err = c.export(ctx, dir)
		}
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return dir, done, nil
}

func refusal(code release.Code, object, message, hint string) release.Finding {
	return release.Finding{Code: code, Severity: release.Refuses, Object: object, Message: message, Hint: hint}
}
