package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// tree is a site seen from one commit: its source, its configuration, its version.
type tree struct {
	*site
	source  git.Source
	version string
}

// openTree reads a commit and its configuration; no cluster and no host is reached.
func openTree(ctx context.Context, g *globals, rev string) (*tree, error) {
	return open(ctx, g, rev, func(*site, context.Context) error { return nil })
}

// openCommit is openTree with the engine over everything that the roles run on.
func openCommit(ctx context.Context, g *globals, rev string) (*tree, deploy.Engine, error) {
	var targets map[release.Target]deploy.Target
	t, err := open(ctx, g, rev, func(s *site, ctx context.Context) (err error) { targets, err = s.openTargets(ctx, false); return err })
	if err != nil {
		return nil, deploy.Engine{}, errors.Join(err, deploy.Engine{Targets: targets}.Close())
	}
	l, err := t.engine(ctx, targets, t.verifyNew)
	return t, l.Engine, err
}

// open reads a commit, and while git is at work connects to what the command needs.
func open(ctx context.Context, g *globals, rev string, connect func(*site, context.Context) error) (*tree, error) {
	src, err := git.Open(ctx, g.dir, rev, config.File)
	if err != nil {
		return nil, deploy.Unchanged(err)
	}
	cfg, err := configOf(ctx, g, src)
	if err != nil {
		return nil, err
	}
	s, err := newSite(g, cfg)
	if err != nil {
		return nil, err
	}
	g.about.SHA, g.about.Kind = src.SHA, release.KindRelease
	t := &tree{site: s, source: src}
	var dirty []string
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return connect(s, gctx) })
	group.Go(func() (err error) {
		if t.version, err = src.Version(gctx); err != nil {
			return fmt.Errorf("version of %s: %w", release.Short(src.SHA), err)
		}
		return nil
	})
	group.Go(func() error { dirty, _ = src.Dirty(gctx); return nil }) // it is for a note only
	s.newAttestor(ctx, t.files(ctx).ReadFile)
	if err := group.Wait(); err != nil {
		return nil, s.abandon(err)
	}
	g.about.Version = t.version
	t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkDone, Message: fmt.Sprintf("source %s %s", release.Short(src.SHA), t.version)})
	if src.Shallow() && strings.HasPrefix(t.version, "0.0.0-") {
		t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkNote, Message: "this clone is shallow and holds no version's tag, so " + t.version + " says nothing about the order of releases: git fetch --unshallow --tags"})
	}
	if len(dirty) > 0 {
		t.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkNote, Message: fmt.Sprintf("%d uncommitted change(s) are not part of it, %s first", len(dirty), dirty[0])})
	}
	return t, nil
}

// Close ends the reading of the commit, and the progress output.
func (t *tree) Close() error { return errors.Join(t.source.Close(), t.site.Close()) }

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
		return config.Config{}, err
	}
	cfg, err := config.Parse(config.File, data, g.env)
	cfg.Dir = src.Top
	return cfg, err
}

// imageNames are the images that roles use, sorted.
func (t *tree) imageNames() []string {
	used := map[string]bool{}
	for _, r := range t.cfg.Roles {
		used[r.Image] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// publish builds and pushes every image and renders every role: the release
// with all that it needs to run anywhere.
func (t *tree) publish(ctx context.Context, p pipeline.Publisher) (release.Release, error) {
	images, err := t.eachImage(ctx, p, pipeline.Publisher.Publish)
	if err != nil {
		return release.Release{}, err
	}
	return t.compose(ctx, images)
}

// draft is publish without a push.
func (t *tree) draft(ctx context.Context) (release.Release, error) {
	images, err := t.eachImage(ctx, t.publisher(buildFlags{}, nil), pipeline.Publisher.Find)
	if err != nil {
		return release.Release{}, err
	}
	return t.compose(ctx, images)
}

// compose renders every role of the release.
func (t *tree) compose(ctx context.Context, images map[string]pipeline.Image) (release.Release, error) {
	rel := release.Release{App: t.cfg.App, Kind: release.KindRelease, SHA: t.source.SHA, Version: t.version}
	pinned := map[string]string{}
	for _, b := range images {
		pinned[b.Repository] = b.Digest
	}
	var together []manifests.Input
	var at []int // of each of them, its role in rel
	for i, r := range t.cfg.Roles {
		b := images[r.Image]
		role := release.Role{Name: r.Name, Target: r.Target(), Image: r.Image, Repository: b.Repository, Digest: b.Digest, Key: b.Key, Aliases: b.Aliases}
		in := manifests.Input{
			App: t.cfg.App, SHA: t.source.SHA, Version: t.version,
			Role: r, Image: t.cfg.Images[r.Image], Repository: role.Repository, Digest: role.Digest, Pinned: pinned,
			Deadline: t.cfg.Timeout.Or(0), Tree: t.files(ctx),
		}
		if render := targetKinds()[r.Target()].render; render != nil {
			objects, err := render(in)
			if err != nil {
				return release.Release{}, fmt.Errorf("render %s: %w", r.Name, err)
			}
			role.Objects = objects
		} else {
			together, at = append(together, in), append(at, i)
		}
		rel.Roles = append(rel.Roles, role)
	}
	// An object of two roles, and data of one that pods of another read, are seen in all roles together.
	objects, err := manifests.Compose(together)
	if err != nil {
		return release.Release{}, fmt.Errorf("render: %w", err)
	}
	for i, role := range at {
		rel.Roles[role].Objects = objects[i]
	}
	return rel, nil
}

// files reads the commit's tree for packages that know no context.
func (t *tree) files(ctx context.Context) sourceFiles {
	return sourceFiles{ctx: ctx, src: t.source}
}

func objectsYAML(objects []json.RawMessage) ([]byte, error) { return manifests.YAML(objects) }
