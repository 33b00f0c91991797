package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// remove stops the role's service and removes its unit. If there was a unit of that name
// before shipit installed its own, that unit is restored, and enabled and started if it
// was. A unit that shipit did not install is not changed. The content stays until prune.
// stays says that the role continues as another service, which has the link now.
func (r runner) remove(ctx context.Context, role release.Role, stays bool) error {
	d, err := service.Define(role)
	if err != nil {
		return err
	}
	s, err := r.inspect(ctx, d)
	if err != nil || !s.Installed {
		return err
	}
	manager := r.manager(d)
	if _, err := r.stop(ctx, d); err != nil {
		return fmt.Errorf("stop %s: %w", d.Service, err)
	}
	if err := r.Each(ctx, write(d, "disable"), manager.Disable(d)); err != nil {
		return fmt.Errorf("disable %s: %w", d.Service, err)
	}
	link := d.Link()
	if stays {
		link = ""
	}
	res, err := r.Change(ctx, write(d, "remove"), machine.Script(removeServiceScript, d.UnitFile(r.Home), d.UnitCopy(), d.Marker(), link, d.ActivationFile()))
	if err != nil {
		return fmt.Errorf("remove %s: %w", d.UnitFile(r.Home), err)
	}
	if err := r.Each(ctx, write(d, "reload"), manager.Reload(d)); err != nil {
		return fmt.Errorf("reload after removing %s: %w", d.Service, err)
	}
	return r.putBack(ctx, d, strings.Fields(res.Stdout))
}

// putBack enables and starts a restored unit, if before says that it was.
func (r runner) putBack(ctx context.Context, d service.Definition, before []string) error {
	manager := r.manager(d)
	var cmds []machine.Command
	if slices.Contains(before, beforeEnabled) {
		cmds = append(cmds, manager.Enable(d))
	}
	if slices.Contains(before, beforeUp) {
		cmds = append(cmds, manager.Start(d, service.State{Enabled: true})...)
	}
	if err := r.Each(ctx, write(d, "start"), cmds); err != nil {
		return fmt.Errorf("start %s as it was before shipit: %w", d.Service, err)
	}
	return nil
}

// removeServiceScript removes the unit $1, or restores the one that was there before and
// prints whether that was enabled and running. $2 is the copy of the unit, $3 the marker,
// $4 the link, $5 the activation file.
const removeServiceScript = `set -e
if [ -e "$2.before" ]; then
  cp -p "$2.before" "$1.shipit-new"
  mv -f "$1.shipit-new" "$1"
  cat "$2.before.state" 2>/dev/null || echo up
else
  rm -f "$1"
fi
rm -f "$2" "$2.previous" "$2.before" "$2.before.state" "$3" "$5"
[ -z "$4" ] || rm -f "$4"`
