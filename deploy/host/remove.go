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

// remove takes the role's service off the machine again, for a release that did
// not come up: the service is stopped, its unit removed, and the unit that stood
// there before shipit came, if there was one, is put back as it was: enabled or
// not, running or not. A unit that shipit did not install is left alone. The
// content stays until prune.
// stays says that the role goes on under another service: its link is that one's.
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
	if err := r.Each(ctx, write(d, "forget"), manager.Forget(d)); err != nil {
		return fmt.Errorf("forget %s: %w", d.Service, err)
	}
	link := d.Link()
	if stays {
		link = ""
	}
	res, err := r.Change(ctx, write(d, "remove"), machine.Script(removeServiceScript, d.UnitFile(r.Home), d.Kept(), d.Marker(), link, d.ActivationFile()))
	if err != nil {
		return fmt.Errorf("remove %s: %w", d.UnitFile(r.Home), err)
	}
	if err := r.Each(ctx, write(d, "reload"), manager.Reload(d)); err != nil {
		return fmt.Errorf("forget %s: %w", d.Service, err)
	}
	return r.resume(ctx, d, strings.Fields(res.Stdout))
}

// resume makes the unit that was put back do what it did before.
func (r runner) resume(ctx context.Context, d service.Definition, before []string) error {
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

// removeServiceScript takes the unit $1 away, or puts back what was there before; it
// prints what that did. $2 is our copy, $3 the marker, $4 the link, $5 the
// activation.
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
