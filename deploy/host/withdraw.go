package host

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// Withdraw takes the role's service off the machine again, for a first release
// that did not come up: the service is stopped, its unit removed, and the unit
// that stood there before shipit came, if there was one, is put back and
// started. The content stays; Prune takes it.
func (m *Machine) Withdraw(ctx context.Context, role release.Role) error {
	d, err := Define(role)
	if err != nil {
		return err
	}
	sup := m.supervisor(d)
	if _, err := m.stop(ctx, d); err != nil {
		return fmt.Errorf("stop %s: %w", d.Service, err)
	}
	if err := m.each(ctx, sup.forget(d)); err != nil {
		return fmt.Errorf("forget %s: %w", d.Service, err)
	}
	res, err := m.exec(ctx, script(withdrawScript, d.unitFile(m.home), d.kept(), d.marker(), d.link()))
	if err != nil {
		return fmt.Errorf("remove %s: %w", d.unitFile(m.home), err)
	}
	if err := m.each(ctx, sup.reload(d)); err != nil {
		return fmt.Errorf("forget %s: %w", d.Service, err)
	}
	if res.Stdout == "" {
		return nil
	}
	if err := m.each(ctx, sup.start(d, state{})); err != nil {
		return fmt.Errorf("start %s as it was before shipit: %w", d.Service, err)
	}
	return nil
}

// withdrawScript takes the unit $1 away, or puts back what was there before; it
// prints a word in that case. $2 is our copy, $3 the marker, $4 the link.
const withdrawScript = `set -e
if [ -e "$2.before" ]; then
  mv -f "$2.before" "$1.shipit-new"
  mv -f "$1.shipit-new" "$1"
  echo restored
else
  rm -f "$1"
fi
rm -f "$2" "$2.previous" "$3" "$4"`
