package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/doctor"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/release"
)

func newDoctor(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what a release needs on this machine, and how to mend what is missing",
		Long: `Asks everything that a release needs whether it is there: git, the configuration, a
Dagger engine, the registry and the right to push, the signing identity, the cluster and
the rights in it, the hosts with their service managers and runtimes, and the clock. What
is missing comes with the command that mends it. Nothing is changed.`,
		Example: `  shipit doctor
  shipit doctor -o json | jq -r '.checks[] | select(.status == "failed") | .remedy'`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.doctor(cmd.Context()) },
	}
}

func (g *globals) doctor(ctx context.Context) error {
	quiet := *g
	quiet.term.err = io.Discard // what is found is told by the report alone
	cfg, fault := config.Load(g.diskFile(), g.env)
	if g.config != "" && errors.Is(fault, fs.ErrNotExist) {
		return fault
	}
	s, err := newSession(&quiet, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	s.newAttestor(ctx, nil)
	report := doctor.Run(ctx, doctor.Checks(doctor.Input{
		Dir: g.dir, Config: cfg, Fault: fault, Registry: s.registry, Attestor: s.attestor, Kube: s.kubeOptions(), Release: renderOnce(&quiet),
	}))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := g.result(report, report.Write); err != nil || report.OK {
		return err
	}
	missing := 0
	for _, c := range report.Checks {
		if c.Status == doctor.Failed {
			missing++
		}
	}
	return &printedError{&exitError{code: exitRefused, msg: fmt.Sprintf("%d check(s) failed", missing)}}
}

// renderOnce renders HEAD with placeholders for the digests of its images, when it is
// first asked for.
func renderOnce(g *globals) func(context.Context) (release.Release, error) {
	var once sync.Once
	var rel release.Release
	var err error
	return func(ctx context.Context) (release.Release, error) {
		once.Do(func() {
			var t *commit
			if t, err = openCommit(ctx, g, "HEAD"); err != nil {
				return
			}
			defer t.Close()
			rel, err = manifests.Complete(manifests.Placeholder(t.cfg), t.cfg, t.source.Files(ctx))
		})
		return rel, err
	}
}
