package host

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// bansOf are the patterns that check.forbid forbids in the tree: nothing that a machine
// starts may hold them either. One that is no pattern is reported by check.
func bansOf(cfg config.Config) []service.Ban {
	var bans []service.Ban
	for _, f := range cfg.Check.Forbid {
		if pattern, err := regexp.Compile(f.Pattern); err == nil {
			bans = append(bans, service.Ban{Pattern: pattern, Why: f.Why})
		}
	}
	return bans
}

// origin says of a service that was not started from a release where it comes from: a
// checkout, a script that changes what it starts, something forbidden.
func (r runner) origin(ctx context.Context, d service.Definition, s service.State, bans []service.Ban) ([]string, error) {
	file, err := r.unitText(ctx, d)
	if err != nil {
		return nil, err
	}
	o := service.OriginOf(d, file, s)
	res, err := r.Read(ctx, o.Inspect())
	if err != nil {
		return nil, fmt.Errorf("look at what %s starts on %s: %w", d.Service, r.Name, err)
	}
	return o.Notes(res.Stdout, bans), nil
}

// byHand reports whether a service may have been started from something else than a
// release.
func byHand(d service.Definition, s service.State) bool {
	return s.Unit == service.UnitDiffers || strings.HasPrefix(s.LiveDigest(d), "path:")
}

// started warns of a service that was made by hand and mutates itself, which the release
// replaces, and refuses a second process of the role, which would go on beside it.
func (r runner) started(ctx context.Context, d service.Definition, n needs) ([]release.Finding, error) {
	s, err := r.inspect(ctx, d)
	if err != nil {
		return nil, err
	}
	var findings []release.Finding
	if byHand(d, s) && (!s.Installed || strings.HasPrefix(s.LiveDigest(d), "path:")) {
		notes, err := r.origin(ctx, d, s, n.bans)
		if err != nil {
			return nil, err
		}
		if len(notes) > 0 {
			f := finding(d, release.CodeStartsByHand, d.Object(), "what runs now is no release: "+join(notes), "the release replaces it; retire the clone or script when it is good")
			f.Severity = release.Warns
			findings = append(findings, f)
		}
	}
	services, err := r.Read(ctx, machine.Script(`ls "$1" 2>/dev/null || exit 0`, d.UnitsDir()))
	if err != nil {
		return nil, err
	}
	known := n.services
	for _, name := range machine.Lines(services.Stdout) {
		known = append(known, strings.TrimSuffix(strings.TrimSuffix(name, ".service"), ".plist"))
	}
	copies, err := r.copies(ctx, d, s, known)
	for _, c := range copies {
		findings = append(findings, finding(d, release.CodeSecondProcess, d.Object(), c, "end it, and what starts it, so that the role runs once; `systemctl status PID` or `launchctl list` tells what that is"))
	}
	return findings, err
}

// copies are the processes of the role beside its service. Those of services are none.
func (r runner) copies(ctx context.Context, d service.Definition, s service.State, services []string) ([]string, error) {
	found, err := r.Read(ctx, service.FindCopies(d))
	if err != nil {
		return nil, fmt.Errorf("look for copies of %s on %s: %w", d.Service, r.Name, err)
	}
	return service.ParseCopies(found.Stdout, d, s, services), nil
}
