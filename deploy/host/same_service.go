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
	of, errA := service.Define(a)
	as, errB := service.Define(b)
	if errA != nil || errB != nil {
		return a.Name == b.Name, nil
	}
	if of.Service != as.Service || of.Domain != as.Domain {
		return false, nil
	}
	if of.Address == as.Address || a.Name == b.Name && (of.Address == "" || as.Address == "") {
		return true, nil
	}
	first, _, errA := t.runner(ctx, a)
	second, _, errB := t.runner(ctx, b)
	if err := errors.Join(errA, errB); err != nil {
		return false, fmt.Errorf("tell whether %s and %s are one machine: %w", of.Address, as.Address, err)
	}
	return first.ID != "" && first.ID == second.ID, nil
}

// otherServices are those of the release's roles but one.
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
