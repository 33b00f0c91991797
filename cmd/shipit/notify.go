package main

import (
	"context"

	"github.com/joelhooks/shipit/notify"
	"github.com/joelhooks/shipit/pipeline/git"
)

// notified is who is told of a run. The zero value tells nobody.
type notified struct {
	command string // release, rollback or promote; "": one that changes nothing
	*notify.Notifier
}

// startNotifier begins to tell those whom the configuration names of the run, if its command
// is one that they are told of.
func (s *session) startNotifier(ctx context.Context) {
	n := &s.globals.notified
	if n.command == "" {
		return
	}
	n.Notifier = notify.Open(notify.Options{
		Config: s.cfg.Notify, App: s.cfg.App, Environment: s.cfg.Environment, Command: n.command,
		Source: s.cfg.Source, Origin: func() string { return git.Origin(ctx, s.globals.dir) },
	})
	s.reporter.Follow(n.Event)
}
