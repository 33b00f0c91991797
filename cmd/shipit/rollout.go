package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// rolloutFlags are the flags of every command that rolls out a release.
type rolloutFlags struct {
	allow     allowed
	noRestore bool
	waitLock  time.Duration
}

func (r *rolloutFlags) add(flags *pflag.FlagSet) {
	flags.Var(&r.allow, "allow", "continue despite the finding `CODE` (repeatable)")
	flags.BoolVar(&r.noRestore, "no-restore", false, "do not restore after a failed rollout; leave it for inspection")
	addWaitLock(flags, &r.waitLock)
}

// addWaitLock adds the flag --wait-lock.
func addWaitLock(flags *pflag.FlagSet, limit *time.Duration) {
	flags.DurationVar(limit, "wait-lock", 0, "wait up to `LIMIT` for a release that is under way; a newer commit that waits supersedes an older one")
	flags.Lookup("wait-lock").NoOptDefVal = "30m"
}

// terms are those of the rollout that the flags give.
func (r rolloutFlags) terms() deploy.Terms {
	return deploy.Terms{Allow: r.allow, NoRestore: r.noRestore}
}

// rollOut rolls out what prepare makes of the commit, in the order of commits, and prints the
// record.
func (r rolloutFlags) rollOut(ctx context.Context, t *commit, engine deploy.Engine, prepare func() (release.Release, deploy.Terms, error)) error {
	rel, terms, err := prepare()
	if err != nil {
		return deploy.Unchanged(err)
	}
	committed, err := t.source.Committed(ctx)
	if err != nil {
		return deploy.Unchanged(err)
	}
	engine.Lock = ledger.LockOptions{Wait: r.waitLock, What: release.Short(rel.SHA), Order: committed.Unix()}
	record, err := engine.Release(ctx, rel, terms)
	return t.globals.conclude(record, err)
}
