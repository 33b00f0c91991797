package main

import (
	"context"

	"github.com/joelhooks/shipit/notify"
	"github.com/joelhooks/shipit/pipeline/git"
)

// told is who is told of a run. The zero value tells nobody.
type told struct {
	command string // release, rollback or promote; "": one that changes nothing
	*notify.Notifier
}

// tell begins to tell those whom the configuration names of the run, if its command is one
// that they are told of.
func (s *session) tell(ctx context.Context) {
	t := &s.globals.told
	if t.command == "" {
		return
	}
	repositories := []string{s.cfg.Source}
	if s.cfg.Notify.GitHub.Report == "always" && s.cfg.Source == "" {
		repositories = []string{git.Origin(ctx, s.globals.dir)}
	}
	t.Notifier = notify.Open(notify.Options{
		Config: s.cfg.Notify, App: s.cfg.App, Environment: s.cfg.Environment, Command: t.command, Repositories: repositories,
	})
	s.reporter.Follow(t.Event)
}
