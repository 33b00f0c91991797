package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// defaultEnvironment stands for the settings without an environment, as an argument.
const defaultEnvironment = "-"

type promoteOptions struct {
	*globals
	from           string // the environment; "" for none
	fromKubeconfig string
	fromContext    string
	version        versionRange
	rolloutFlags
}

func newPromote(g *globals) *cobra.Command {
	o := &promoteOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "promote FROM TO",
		Short: "Release in one environment what is good in another, without a build",
		Long: `Releases the newest good release of the environment FROM in the environment TO: the
very digests that run there, with the settings of TO in the same commit. Nothing is
built. Where TO has another repository, images are copied with their signatures and
provenance; the signing policy of TO holds. The record says where they come from.
FROM or TO is - for the settings without an environment.`,
		Example: `  shipit promote staging production
  shipit promote staging production --from-context staging --context production
  shipit promote staging - --require-version '~1.4'      no pre-release, and only 1.4.x`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == args[1] {
				return &usageError{fmt.Sprintf("promote takes two environments that differ, FROM and TO, got %q", args)}
			}
			if g.env != "" {
				return &usageError{"promote takes its environments as arguments, and not --env"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.from, g.env = environmentOf(args[0]), environmentOf(args[1])
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.fromKubeconfig, "from-kubeconfig", "", "kubeconfig `FILE` of FROM (default: that of TO)")
	cmd.Flags().StringVar(&o.fromContext, "from-context", "", "context of FROM in its kubeconfig (default: that of TO)")
	o.add(cmd.Flags())
	addRequireVersion(cmd.Flags(), &o.version)
	return cmd
}

func environmentOf(argument string) string {
	if argument == defaultEnvironment {
		return ""
	}
	return argument
}

func (o *promoteOptions) run(ctx context.Context) error {
	// An environment that does not exist is rejected before anything is connected.
	cfg, err := config.Load(o.diskFile(), o.env)
	if err != nil {
		return err
	}
	o.partial.App, o.partial.Kind = cfg.App, release.KindPromotion
	source := o.source()
	good, err := goodIn(ctx, source)
	if err != nil {
		return err
	}
	o.notified.command = "promote"
	t, engine, err := openCommitWithTargets(ctx, o.globals, good.SHA)
	var unknown *git.NoSuchRevError
	if errors.As(err, &unknown) {
		return &exitError{code: exitRefused, msg: fmt.Sprintf("the clone has no commit %s, which is good in %s", release.Short(good.SHA), release.EnvironmentName(o.from)), hint: "git fetch"}
	}
	if err != nil {
		return err
	}
	defer t.Close()
	defer engine.Close()

	return o.rollOut(ctx, t, engine, func() (release.Release, deploy.Terms, error) { return o.promoted(ctx, t, engine, good) })
}

// source are the settings of the environment that is promoted.
func (o *promoteOptions) source() *globals {
	source := *o.globals
	source.env = o.from
	source.kubeconfig = cmp.Or(o.fromKubeconfig, o.kubeconfig)
	source.context = cmp.Or(o.fromContext, o.context)
	return &source
}

// goodIn is the newest good record of an environment.
func goodIn(ctx context.Context, source *globals) (release.Record, error) {
	s, err := openFromDisk(ctx, source, true)
	if err != nil {
		return release.Record{}, err
	}
	defer s.Close()
	good, err := s.Good(ctx)
	if err == nil {
		s.report(release.Event{Phase: release.PhaseSource, Mark: release.MarkDone, Message: fmt.Sprintf("%s %s is good in %s", good.ID(), good.Version, release.EnvironmentName(source.env))})
	}
	return good, err
}

// promoted is the release of what is good elsewhere, whose images are in the target's
// repositories then.
func (o *promoteOptions) promoted(ctx context.Context, t *commit, engine deploy.Engine, good release.Record) (rel release.Release, terms deploy.Terms, err error) {
	terms = o.terms()
	if err := release.Refuse(o.version.Findings(t.version), nil); err != nil {
		return rel, terms, err
	}
	settings, err := configOf(ctx, o.source(), t.source)
	if err != nil {
		return rel, terms, err
	}
	if terms.Known, err = check.Commit(ctx, t.source, t.cfg); err != nil {
		return rel, terms, err
	}
	terms.Known = append(terms.Known, pipeline.SettingsDiffer(settings, t.cfg)...)
	if err := release.Refuse(terms.Known, o.allow); err != nil {
		return rel, terms, err
	}
	if rel, err = engine.Promotion(good, t.version); err != nil {
		return rel, terms, err
	}
	if err := engine.VerifySource(ctx, rel); err != nil {
		return rel, terms, err
	}
	if err := t.publisher(buildFlags{}, nil).Promote(ctx, rel); err != nil {
		return rel, terms, err
	}
	terms.History, _ = engine.Read(ctx) // an error of the ledger is reported by the step that needs it
	rel, err = t.complete(ctx, rel)
	return rel, terms, err
}
