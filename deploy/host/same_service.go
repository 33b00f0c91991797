package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// sameService reports whether two roles are one service of one machine, by whatever
// names the machine is reached. A record that does not name the machine is of
// the one that the configuration has for the role.
func (t *Target) sameService(ctx context.Context, a, b release.Role) (bool, error) {
	defA, errA := service.Define(a)
	defB, errB := service.Define(b)
	if errA != nil || errB != nil {
		return a.Name == b.Name, nil
	}
	if defA.Service != defB.Service || defA.Domain != defB.Domain {
		return false, nil
	}
	unknown := defA.Address == "" || defB.Address == ""
	if defA.Address == defB.Address || unknown && a.Name == b.Name {
		return true, nil
	}
	runnerA, _, errA := t.runner(ctx, a)
	runnerB, _, errB := t.runner(ctx, b)
	if err := errors.Join(errA, errB); err != nil {
		return false, fmt.Errorf("compare the machines %s and %s: %w", defA.Address, defB.Address, err)
	}
	return runnerA.ID != "" && runnerA.ID == runnerB.ID, nil
}

// otherServices are the services of the release's other host roles.
func otherServices(rel release.Release, but release.Role) []string {
	var services []string
	for _, role := range rel.Roles {
		if d, err := service.Define(role); err == nil && role.Name != but.Name && role.Target == release.TargetHost {
			services = append(services, d.Service)
		}
	}
	return services
}

// servicesOn are the services of the app on the machine of h.
func (t *Target) servicesOn(h config.Host) []string {
	var services []string
	for _, other := range t.roles {
		if machine.Key(other) == machine.Key(h) {
			services = append(services, strings.TrimSuffix(other.Service, ".service"))
		}
	}
	return services
}
