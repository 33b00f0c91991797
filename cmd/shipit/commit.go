package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// commit is a session for one commit: its configuration is that of the commit.
type commit struct {
	*session
	source  git.Source
	version string
}

// openCommit reads a commit and its configuration, without connecting to a cluster
// or host.
func openCommit(ctx context.Context, g *globals, rev string) (*commit, error) {
	return open(ctx, g, rev, func(*session, context.Context) error { return nil })
}

// openCommitWithTargets is openCommit that also connects to every target and the
// ledger.
func openCommitWithTargets(ctx context.Context, g *globals, rev string) (*commit, deploy.Engine, error) {
	var targets map[release.Target]deploy.Target
	t, err := open(ctx, g, rev, func(s *session, ctx context.Context) (err error) {
		targets, err = s.openTargets(ctx, false)
		return err
	})
	if err != nil {
		return nil, deploy.Engine{}, errors.Join(err, deploy.Engine{Targets: targets}.Close())
	}
	l, err := t.engine(ctx, targets, t.verifyNew)
	return t, l.Engine, err
}

// open reads a commit, and calls connect while git works.
func open(ctx context.Context, g *globals, rev string, connect func(*session, context.Context) error) (*commit, error) {
	src, err := git.Open(ctx, g.dir, rev, config.File)
	if err != nil {
		return nil, deploy.Unchanged(err)
	}
	cfg, err := configOf(ctx, g, src)
	if err != nil {
		return nil, err
	}
	s, err := newSession(g, cfg)
	if err != nil {
		return nil, err
	}
	s.startNotifier(ctx)
	g.partial.SHA, g.partial.Kind = src.SHA, cmp.Or(g.partial.Kind, release.KindRelease)
	t := &commit{session: s, source: src}
	var dirty []string
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return connect(s, gctx) })
	group.Go(func() (err error) {
		if t.version, err = src.Version(gctx); err != nil {
			return fmt.Errorf("version of %s: %w", release.Short(src.SHA), err)
		}
		return nil
	})
	group.Go(func() error { dirty, _ = src.Dirty(gctx); return nil }) // only for a note, so an error does not matter
	s.newAttestor(ctx, src.Files(ctx).ReadFile)
	if err := group.Wait(); err != nil {
		return nil, s.closeUnchanged(err)
	}
	g.partial.Version = t.version
	t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkDone, Message: fmt.Sprintf("source %s %s", release.Short(src.SHA), t.version)})
	if src.Shallow() && strings.HasPrefix(t.version, "0.0.0-") {
		t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkNote, Message: "the clone is shallow and has no version tag: versions cannot be ordered; run git fetch --unshallow --tags"})
	}
	if len(dirty) > 0 {
		t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkNote, Message: fmt.Sprintf("%d uncommitted change(s) are not included, e.g. %s", len(dirty), dirty[0])})
	}
	return t, nil
}

// Close closes the source and the progress output.
func (t *commit) Close() error { return errors.Join(t.source.Close(), t.session.Close()) }

// configOf reads the configuration of the commit itself, or the file that
// --config names.
func configOf(ctx context.Context, g *globals, src git.Source) (config.Config, error) {
	if g.config != "" {
		return config.Load(g.file(""), g.env)
	}
	data, err := src.ReadFile(ctx, config.File)
	if errors.Is(err, fs.ErrNotExist) {
		fault := &config.Error{File: config.File, Msg: "is not in commit " + release.Short(src.SHA), Hint: "shipit init writes one; commit it"}
		if _, serr := os.Stat(filepath.Join(g.dir, config.File)); serr == nil {
			fault.Hint = "it is in the working directory: commit it, or name it with --config"
		}
		return config.Config{}, fault
	}
	if err != nil {
		return config.Config{}, deploy.Unchanged(err)
	}
	cfg, err := config.Parse(config.File, data, g.env)
	cfg.Dir = src.Top
	return cfg, err
}

// images makes the images of the commit, by name.
func (t *commit) images(ctx context.Context, p pipeline.Publisher, step pipeline.Step) (map[string]pipeline.Image, error) {
	return p.EachImage(ctx, pipeline.Commit{Source: t.source, Config: t.cfg}, step)
}

// release is the release of the commit with these images.
func (t *commit) release(ctx context.Context, images map[string]pipeline.Image) (release.Release, error) {
	return t.complete(ctx, release.Release{App: t.cfg.App, Kind: release.KindRelease, SHA: t.source.SHA, Version: t.version, Roles: pipeline.Roles(t.cfg, images)})
}

// complete is a release of the commit with the objects of every role.
func (t *commit) complete(ctx context.Context, rel release.Release) (release.Release, error) {
	return manifests.Complete(rel, t.cfg, t.source.Files(ctx))
}
