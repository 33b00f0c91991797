// Package host runs a role's image on a machine as a service of systemd or
// launchd: the image becomes a read-only release directory, the role's definition
// becomes a unit or plist, and what runs is read back from the kernel, never from a
// link and never from what was asked for.
//
// The machine is this one or one reached over SSH. It needs nothing but a POSIX
// shell, tar, awk, sha256sum or shasum, and its service manager. Every step can
// be repeated: a run that was cut off is finished or undone by the next one.
package host

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// runner runs services on one machine.
type runner struct {
	*machine.Machine
	progress release.Progress
	listen   time.Duration // how long a service with a port has until it listens there
}

// write is a change of the service, behind the fence of its root.
func write(d service.Definition, name string) machine.Write {
	return machine.Write{Name: name, Root: d.Root}
}

// store is where the service's content is.
func (r runner) store(d service.Definition) content.Store {
	return content.Store{Machine: r.Machine, Root: d.Root}
}

func (r runner) manager(d service.Definition) service.Manager {
	return service.ManagerOf(d, r.Home)
}

// inspect reads the state of the service; it changes nothing.
func (r runner) inspect(ctx context.Context, d service.Definition) (service.State, error) {
	manager := r.manager(d)
	cmd := manager.Inspect(d, r.store(d).ReplacementDir(d.Digest)).With(strings.NewReader(d.Content))
	res, err := r.Read(ctx, cmd)
	if err != nil {
		return service.State{}, fmt.Errorf("inspect %s on %s: %w", d.Service, r.Name, err)
	}
	return manager.Parse(res.Stdout), nil
}

// overrides reads the drop-in files that the manager has read.
func (r runner) overrides(ctx context.Context, s service.State) (service.Overrides, error) {
	if len(s.DropIns) == 0 {
		return service.Overrides{}, nil
	}
	res, err := r.Read(ctx, service.ReadOverrides(s.DropIns))
	if err != nil {
		return service.Overrides{}, fmt.Errorf("read drop-in files: %w", err)
	}
	return service.ParseOverrides(res.Stdout), nil
}

// report tells a step of the rollout of a service.
func (r runner) report(d service.Definition, phase release.Phase, mark release.Mark, message string, took time.Duration) {
	r.progress.Report(release.Event{Phase: phase, Mark: mark, Role: d.Role, Message: message, Took: took})
}
