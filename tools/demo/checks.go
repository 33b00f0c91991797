package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// asked runs shipit for its JSON, which is read into into. Exit codes of drift and
// of a failed release come with a document, too.
func (p *play) asked(ctx context.Context, args string, into any) error {
	cmd := p.command(ctx, "shipit "+args+" -o json")
	var faults strings.Builder
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if _, err := exitCode(err); err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("shipit %s: %w: %s", args, err, faults.String())
	}
	return nil
}

// state is what the demo reads of `status -o json`.
type state struct {
	Version string
	SHA     string
	Parity  bool
	Roles   []struct {
		Name, Digest, LiveDigest, LiveSHA string
		InParity                          bool
	}
	Drift []struct{ Role string }
}

func (s state) String() string {
	if s.Parity {
		return "in parity on " + s.Version
	}
	return "drift"
}

// runs checks that every role runs the version, by its live commit; with an empty
// version, that there is drift.
func (p *play) runs(now state, version string) error {
	if version == "" && now.Parity || version != "" && (!now.Parity || now.Version != version) {
		return fmt.Errorf("%s, and not %s", now, cmp.Or(version, "drift"))
	}
	for _, r := range now.Roles {
		if version != "" && (r.LiveSHA != now.SHA || r.LiveDigest != r.Digest || !r.InParity) {
			return fmt.Errorf("the role %s runs %s of %s, and not %s of %s", r.Name, r.LiveDigest, r.LiveSHA, r.Digest, now.SHA)
		}
	}
	if want := p.roleNames(); len(now.Roles) != len(want) {
		return fmt.Errorf("there are %d roles, and not %s", len(now.Roles), strings.Join(want, ", "))
	}
	return nil
}

// roleNames are the roles that run here.
func (p *play) roleNames() []string {
	if p.host == nil {
		return []string{"cluster"}
	}
	return []string{"cluster", "host", "gateway"}
}

// remember keeps what v1 is made of, for somebody to go back to it by hand.
func (p *play) remember(_ context.Context, now state) error {
	p.v1 = map[string]string{}
	for _, r := range now.Roles {
		p.v1[r.Name] = r.LiveDigest
	}
	return nil
}

// namesTheVictim checks that the drift is of the role that was moved, and of no other.
func (p *play) namesTheVictim(_ context.Context, now state) error {
	for _, d := range now.Drift {
		if d.Role != p.victimRole() {
			return fmt.Errorf("drift of %s, and not only of %s", d.Role, p.victimRole())
		}
	}
	return nil
}

// restored checks that the newest record tells of a release that was taken back, and why.
func (p *play) restored(ctx context.Context, role, code string) error {
	var history struct {
		Records []struct {
			Outcome  string
			Failures []struct{ Role, Code string }
		}
	}
	if err := p.asked(ctx, "history", &history); err != nil {
		return err
	}
	newest := history.Records[0]
	if newest.Outcome != "restored" || len(newest.Failures) == 0 || newest.Failures[0].Role != role || newest.Failures[0].Code != code {
		return fmt.Errorf("the record says %s with %v, and not restored because of %s: %s", newest.Outcome, newest.Failures, role, code)
	}
	return nil
}

// report is where the page is kept: beside the program that made it.
func (p *play) report() string { return filepath.Join(filepath.Dir(p.shipit), "report.html") }

// reported checks that the page is whole.
func (p *play) reported(context.Context, state) error {
	page, err := os.ReadFile(p.report())
	if err == nil && !strings.Contains(string(page), "</html>") {
		err = fmt.Errorf("%s has no end", p.report())
	}
	return err
}
