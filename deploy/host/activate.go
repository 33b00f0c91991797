package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

// activate makes the role's service run from its release directory, which prepare
// has put there: the unit is replaced, the old process stopped, the port seen to
// be free, the new process started and watched until it stands. What runs
// already, from the same directory and by the same unit, is left alone. An older
// release is switched to in the same way; its directory needs no prepare, but
// only prepare reads it back. others are the services of the release's other roles:
// what holds the port as none of them, but as a service of shipit's below the same
// root, is what the role was called before, and is stopped for it.
//
// Every step can be repeated: after a run that was cut off, the next activate, to
// this release or another, goes on from what it finds.
//
// Errors: *release.Failure if the service cannot come up, *lostError. The Live
// is what was seen last.
func (m *machine) activate(ctx context.Context, role release.Role, others ...string) (release.Live, error) {
	d, err := define(role)
	if err != nil {
		return release.Live{}, err
	}
	began := time.Now()
	s, err := m.inspect(ctx, d)
	if err != nil {
		return release.Live{}, err
	}
	if f := refusedNow(d, s, others); f != nil {
		return m.live(d, s), f
	}
	if s.settled(d) {
		s, err = m.tidy(ctx, d, s)
		m.say(d, release.PhaseWait, release.MarkDone, d.Service+" runs it already; nothing is restarted", time.Since(began))
		return m.live(d, s), err
	}
	m.say(d, release.PhaseApply, release.MarkStart, "switch "+d.Service+" on "+m.name+" to "+release.ShortDigest(d.Digest), 0)
	s, err = m.replace(ctx, d, s, others)
	if err != nil {
		return m.live(d, s), fmt.Errorf("switch %s: %w", d.Service, err)
	}
	m.say(d, release.PhaseWait, release.MarkDone, fmt.Sprintf("%s runs as PID %d", d.Service, s.pid), time.Since(began))
	return m.live(d, s), nil
}

// tidy sets right what needs no restart: the link, and that the service starts
// with the machine.
func (m *machine) tidy(ctx context.Context, d definition, s state) (state, error) {
	if s.link != d.releaseDir() {
		if _, err := m.change(ctx, d.write("link"), script(linkScript, d.releaseDir(), d.link())); err != nil {
			return s, err
		}
		s.link = d.releaseDir()
	}
	if !s.enabled {
		if _, err := m.change(ctx, d.write("enable"), m.supervisor(d).enable(d)); err != nil {
			return s, err
		}
		s.enabled = true
	}
	return s, nil
}

// refusedNow is why a switch must not even begin: nothing has been changed.
func refusedNow(d definition, s state, others []string) error {
	if !s.prepared {
		return &release.Failure{
			Role: d.Role, Code: release.CodeNotPrepared, Object: d.object(),
			Message: "its content is not at " + d.releaseDir(),
			Hint:    "it was pruned or removed by hand; run the release again, which unpacks it",
		}
	}
	if h := s.foreign(); h != nil && s.predecessor(others) == "" {
		return portTaken(d, *h)
	}
	return nil
}

func portTaken(d definition, h holder) *release.Failure {
	who := h.String()
	if h.pid == 0 {
		who = h.command
	}
	return &release.Failure{
		Role: d.Role, Code: release.CodePortTaken, Object: d.object(),
		Message: fmt.Sprintf("port %d is held by %s, which is not of %s", d.Port, who, d.Service),
		Hint:    "end that process; shipit kills only what the service manager started for the service",
	}
}

// replace carries the service from whatever it was to the definition.
func (m *machine) replace(ctx context.Context, d definition, was state, others []string) (state, error) {
	sup := m.supervisor(d)
	if _, err := m.change(ctx, d.write("install"), m.installing(d, was)); err != nil {
		return state{}, fmt.Errorf("install %s: %w", d.unitFile(m.home), err)
	}
	if err := m.each(ctx, d.write("reload"), sup.reload(d)); err != nil {
		return state{}, err
	}
	if former := was.predecessor(others); former != "" {
		m.say(d, release.PhaseApply, release.MarkNote, former+" gives the port up to "+d.Service, 0)
		if s, err := m.stop(ctx, d.named(former)); err != nil {
			return s, err
		}
	}
	s, err := m.stop(ctx, d)
	if err != nil {
		return s, err
	}
	if err := m.repair(ctx, d, s); err != nil {
		return s, err
	}
	if err := m.start(ctx, d, s); err != nil {
		return s, err
	}
	s, err = m.await(ctx, d)
	if err != nil {
		return s, err
	}
	return m.activated(ctx, d, s)
}

// repair puts content in place that waits for the stopped service to let go of a
// damaged release directory.
func (m *machine) repair(ctx context.Context, d definition, s state) error {
	if !s.repaired {
		return nil
	}
	from := m.repaired(d)
	return m.changeTree(ctx, d.write("repair"), d.releaseDir(), script(repairScript, from, d.releaseDir(), from+".old"))
}

// activated keeps what the process is, just started as the unit says, and ends
// the switch. With drop-in files in force nothing is kept: they say what it is.
func (m *machine) activated(ctx context.Context, d definition, s state) (state, error) {
	o, err := m.overrides(ctx, s)
	if err != nil {
		return s, err
	}
	s.activated = activation{}
	if len(o.changes) == 0 {
		s.activated = s.activation(d)
	}
	_, err = m.change(ctx, d.write("note"), script(activatedScript, d.activationFile(), d.marker()).with(strings.NewReader(s.activated.String())))
	s.switching = false
	return s, err
}

// activatedScript keeps stdin, what was activated, in the file $1 and ends the
// switch by removing its marker $2.
const activatedScript = fencedScript + `set -e
mkdir -p "${1%/*}"
cat >"$1.new"
fenced || exit
mv -f "$1.new" "$1"
rm -f "$2"`

// installing is the command that puts the unit and the link in place. was tells
// what the service did before.
func (m *machine) installing(d definition, was state) command {
	return script(installScript, d.unitFile(m.home), d.kept(), d.marker(), d.releaseDir(), d.link(), logDir(d), d.User,
		strconv.Itoa(len(d.Content)), was.before()).with(strings.NewReader(d.Content))
}

// before is what a service did that is now replaced, in words for remove.
func (s state) before() string {
	var words []string
	if s.enabled {
		words = append(words, beforeEnabled)
	}
	if s.pid > 0 || s.phase == phaseRestarting {
		words = append(words, beforeUp)
	}
	return strings.Join(words, " ")
}

const (
	beforeEnabled = "enabled"
	beforeUp      = "up"
)

func logDir(d definition) string {
	if len(d.Logs) == 0 {
		return ""
	}
	return path.Dir(d.Logs[0])
}

// start tells the manager to start the service. What the manager refuses is a
// *release.Failure with its reason.
func (m *machine) start(ctx context.Context, d definition, s state) error {
	err := m.each(ctx, d.write("start"), m.supervisor(d).start(d, s))
	var exit *exitError
	if !errors.As(err, &exit) {
		return err
	}
	now, unread := m.inspect(ctx, d)
	if unread != nil {
		return errors.Join(err, unread)
	}
	f := m.failure(ctx, d, now)
	if now.rejected {
		f.Code, f.Hint = release.CodeUnitRejected, "the rendered unit is wrong for this machine: `shipit render --role "+d.Role+"` shows it"
	}
	if f.Message == "" || now.rejected {
		f.Message = oneLine(exit.Stderr)
	}
	return f
}

// installScript puts stdin in place of the unit $1 by a rename. $2 is our copy
// of the last one; what was there before is kept beside it: .before the first
// time, .previous each time. $3 is the marker, $4 the release, $5 the link, $6 a
// folder for logs, $7 the user who writes them, $8 the size of stdin, so that a
// connection that ends early installs nothing, $9 what the service did before.
const installScript = fencedScript + `set -e
unit=$1 kept=$2 marker=$3 dir=$4 link=$5 logs=$6 user=$7 size=$8 before=$9
mkdir -p "${unit%/*}" "${kept%/*}" "${marker%/*}"
echo "$dir" >"$marker"
temp=$unit.shipit-new
trap 'rm -f "$temp"' EXIT
cat >"$temp"
fenced || exit
[ "$(wc -c <"$temp")" -eq "$size" ] || { echo "the unit ended early" >&2; exit 1; }
chmod 0644 "$temp"
if [ -e "$unit" ]; then
  if [ ! -e "$kept" ] && [ ! -e "$kept.before" ]; then
    printf '%s\n' "$before" >"$kept.before.state"
    cp -p "$unit" "$kept.before"
  fi
  if ! cmp -s "$unit" "$temp"; then cp -p "$unit" "$kept.previous"; fi
fi
cp "$temp" "$kept"
mv -f "$temp" "$unit"
if [ -n "$logs" ]; then
  mkdir -p "$logs"
  if [ -n "$user" ] && [ "$(id -u)" -eq 0 ]; then chown "$user" "$logs"; fi
fi
set -- "$dir" "$link"
` + linkScript

// linkScript makes the link $2 lead to $1, in one step.
const linkScript = `mkdir -p "${2%/*}" && rm -f "$2.new" && ln -s "$1" "$2.new" && { mv -fT "$2.new" "$2" 2>/dev/null || mv -fh "$2.new" "$2"; }`
