package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/actions"
	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type releaseOptions struct {
	*globals
	rev     string
	record  bool
	version versionRange
	rolloutFlags
	buildFlags
}

func newRelease(g *globals) *cobra.Command {
	o := &releaseOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "release [REV]",
		Short: "Build, push, sign, apply, wait, verify and record one commit",
		Long: `Releases the commit REV (default HEAD) to every role of shipit.yaml and verifies
it. Uncommitted changes are not released. If a role fails, all roles are restored to
the last good release.`,
		Example: `  shipit release                    the commit that HEAD names
  shipit release v1.4.2 -o json     a tag; the record as JSON on stdout
  shipit release --env production --require-version '~1.4'
  shipit release --timeout 2m --events events.jsonl`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	o.rolloutFlags.add(cmd.Flags())
	o.buildFlags.add(cmd.Flags())
	addRequireVersion(cmd.Flags(), &o.version)
	cmd.Flags().BoolVar(&o.record, "record", false, "write a new record even if this release runs already")
	return cmd
}

func (o *releaseOptions) run(ctx context.Context) error {
	o.notified.command = "release"
	t, engine, err := openCommitWithTargets(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer t.Close()
	defer engine.Close()

	return o.rollOut(ctx, t, engine, func() (release.Release, deploy.Terms, error) { return o.published(ctx, t, engine) })
}

// published checks the commit, asks the registry for its images and reads the ledger, all at
// once; what is missing is built and pushed once the check has passed. An error of the
// ledger is reported by the step that needs it.
func (o *releaseOptions) published(ctx context.Context, t *commit, engine deploy.Engine) (rel release.Release, terms deploy.Terms, err error) {
	terms = o.terms()
	terms.Record = o.record
	if err := release.Refuse(o.version.Findings(t.version), nil); err != nil {
		return rel, terms, err
	}
	group, gctx := errgroup.WithContext(ctx)
	read := sync.OnceValues(func() (deploy.History, error) { return engine.Read(gctx) })
	checked := sync.OnceValues(func() ([]release.Finding, error) {
		findings, err := check.Commit(ctx, t.source, t.cfg)
		return findings, cmp.Or(err, release.Refuse(findings, o.allow))
	})
	group.Go(func() error { terms.History, _ = read(); return nil })
	group.Go(func() (err error) { terms.Known, err = checked(); return err })
	group.Go(func() error {
		p := t.publisher(o.buildFlags, read)
		p.Cleared = func(context.Context) error { _, err := checked(); return err }
		images, err := t.images(gctx, p, pipeline.Publisher.Publish)
		if err != nil {
			return err
		}
		rel, err = t.release(gctx, images)
		return err
	})
	err = group.Wait()
	if _, refused := checked(); refused != nil {
		err = refused // it names all that an image fails for, and more
	}
	return rel, terms, err
}

// conclude prints the record of a rollout, if there is one, and returns the error
// for its outcome.
func (g *globals) conclude(record release.Record, err error) error {
	if record.App == "" {
		return err
	}
	g.notified.Ended(record)
	if outcome := outcomeError(record); err == nil {
		err = outcome
	} else {
		err = errors.Join(outcome, err)
	}
	if perr := g.result(record, func(w io.Writer) { console.Record(w, record, g.width()) }); perr != nil && err == nil {
		return perr
	}
	if aerr := actions.Current(g.term.err).ReportRecord(record, err); aerr != nil && err == nil {
		return fmt.Errorf("write the job's summary and outputs: %w", aerr)
	}
	if err != nil {
		return &printedError{err}
	}
	return nil
}
