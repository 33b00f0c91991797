package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// probe asks a role that was just switched whether it does its work, and proves
// that it registered its functions. Synthetic events come last: none reaches a
// worker that has not registered.
func (s *site) probe(ctx context.Context, role release.Role) error {
	cfg, ok := s.cfg.Role(role.Name)
	if !ok {
		return nil
	}
	var asked, events []config.Probe
	for _, p := range cfg.AllProbes() {
		if p.Event != nil {
			events = append(events, p)
		} else {
			asked = append(asked, p)
		}
	}
	if err := s.hold(ctx, role, cfg, asked); err != nil {
		return err
	}
	if err := s.register(ctx, role, cfg); err != nil {
		return err
	}
	if err := s.hold(ctx, role, cfg, events); err != nil {
		return err
	}
	if n := len(asked) + len(events); n > 0 {
		s.report(release.Event{Phase: release.PhaseVerify, Mark: release.MarkDone, Role: role.Name, Message: fmt.Sprintf("%d probe(s) hold", n)})
	}
	return nil
}

// hold runs probes, each until it holds.
func (s *site) hold(ctx context.Context, role release.Role, cfg config.Role, probes []config.Probe) error {
	for _, p := range probes {
		if err := probe.Run(ctx, cfg, p, s.ask(role)); err != nil {
			return gaveUp(ctx, err)
		}
	}
	return nil
}

func (s *site) register(ctx context.Context, role release.Role, cfg config.Role) error {
	if cfg.Register == nil {
		return nil
	}
	proof, err := probe.Register(ctx, cfg, s.ask(role))
	if err != nil {
		return gaveUp(ctx, err)
	}
	s.registered[role.Name] = proof
	s.report(release.Event{Phase: release.PhaseVerify, Mark: release.MarkDone, Role: role.Name, Message: "registered: " + proof})
	return nil
}

// functions asks every role which functions it owns; nil if none answers for
// them. The error names ids that two roles claim.
func (s *site) functions(ctx context.Context, rel release.Release) (*release.Functions, error) {
	var (
		roles []release.RoleFunctions
		errs  []error
	)
	for _, role := range rel.Roles {
		cfg, ok := s.cfg.Role(role.Name)
		if !ok || !asksHTTP(cfg) {
			continue
		}
		own, answers, err := probe.Functions(ctx, cfg, s.cfg.Functions, s.ask(role))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if answers {
			own.Registered = s.registered[role.Name]
			roles = append(roles, own)
		}
	}
	if len(roles) == 0 {
		return nil, errors.Join(errs...)
	}
	owned := probe.Ownership(roles, s.cfg.Functions.AllowDuplicates)
	return &owned, errors.Join(append(errs, probe.Disputed(owned))...)
}

// asks reports whether probe has anything to ask of a role.
func asks(r config.Role) bool { return len(r.AllProbes()) > 0 || r.Register != nil }

func asksHTTP(r config.Role) bool {
	for _, p := range r.AllProbes() {
		if p.Path != "" {
			return true
		}
	}
	return false
}
