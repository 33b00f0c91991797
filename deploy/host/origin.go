package host

import (
	"context"
	"fmt"
	"regexp"
	"slices"
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
func (r runner) origin(ctx context.Context, d service.Definition, o service.Origin, bans []service.Ban) ([]string, error) {
	res, err := r.Read(ctx, o.Inspect())
	if err != nil {
		return nil, fmt.Errorf("look at what %s starts on %s: %w", d.Service, r.Name, err)
	}
	return o.Notes(res.Stdout, bans), nil
}

// byHand is the origin of a service that may have been started from something else than a
// release.
func (r runner) byHand(ctx context.Context, d service.Definition, s service.State, bans []service.Ban) ([]string, error) {
	if s.Unit != service.UnitDiffers && !strings.HasPrefix(s.LiveDigest(d), "path:") {
		return nil, nil
	}
	file, err := r.unitText(ctx, d)
	if err != nil {
		return nil, err
	}
	return r.origin(ctx, d, service.OriginOf(d, file, s), bans)
}

// started warns of a service that was made by hand and mutates itself, which the release
// replaces, and refuses a second process of the role, which would go on beside it.
func (r runner) started(ctx context.Context, d service.Definition, s service.State, n needs) ([]release.Finding, error) {
	var findings []release.Finding
	if !s.Installed || strings.HasPrefix(s.LiveDigest(d), "path:") {
		notes, err := r.byHand(ctx, d, s, n.bans)
		if err != nil {
			return nil, err
		}
		if len(notes) > 0 {
			f := finding(d, release.CodeStartsByHand, d.Object(), "what runs now is no release: "+join(notes), "the release replaces it; retire the clone or script when it is good")
			f.Severity = release.Warns
			findings = append(findings, f)
		}
	}
	copies, err := r.copies(ctx, d, s, n.services)
	for _, c := range copies {
		findings = append(findings, finding(d, release.CodeSecondProcess, d.Object(), c, "end it, and what starts it, so that the role runs once; `systemctl status PID` or `launchctl list` tells what that is"))
	}
	return findings, err
}

// copies are the processes of the role beside its service. Those of services are none: of
// the app's, and of those that shipit has installed and the app does not name any more.
func (r runner) copies(ctx context.Context, d service.Definition, s service.State, services []string) ([]string, error) {
	found, err := r.Read(ctx, service.FindCopies(d))
	if err != nil {
		return nil, fmt.Errorf("look for copies of %s on %s: %w", d.Service, r.Name, err)
	}
	notes := service.ParseCopies(found.Stdout, d, s, services)
	if len(notes) == 0 {
		return nil, nil
	}
	installed, err := r.Read(ctx, machine.Script(`ls "$1" 2>/dev/null || exit 0`, d.UnitsDir()))
	if err != nil {
		return nil, fmt.Errorf("look for the services of %s: %w", r.Name, err)
	}
	services = slices.Clone(services)
	for _, name := range machine.Lines(installed.Stdout) {
		services = append(services, strings.TrimSuffix(strings.TrimSuffix(name, ".service"), ".plist"))
	}
	return service.ParseCopies(found.Stdout, d, s, services), nil
}
