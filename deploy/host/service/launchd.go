package service

import (
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// launchd keeps services as plists, loaded into a domain.
type launchd struct{ home string }

func (launchd) target(d Definition) string { return d.Domain + "/" + d.Service }

// launchdScript reads a service. launchctl print shows environments two tabs
// deep: only the service's own lines, one tab deep, leave the machine.
const launchdScript = `target=$1 unit=$2 link=$3 marker=$4 dir=$5 port=$6 activated=$7 replacement=$8 copy=$9
tab=$(printf '\t')
if show=$(launchctl print "$target" 2>/dev/null); then
  echo Loaded=yes
  show=$(printf '%s\n' "$show" | sed -n "s/^$tab\([a-z][a-z ]* = .*\)/\1/p")
  printf '%s\n' "$show" | sed 's/^/Print=/'
fi
if launchctl print-disabled "${target%/*}" 2>/dev/null | grep -qE "\"${target##*/}\" => (disabled|true)"; then echo Disabled=yes; fi
pid=$(printf '%s\n' "$show" | sed -n 's/^pid = \([0-9][0-9]*\)$/\1/p' | head -n 1)
if [ -n "$pid" ]; then
  cwd=$(lsof -a -p "$pid" -d cwd -Fn 2>/dev/null | sed -n 's/^n//p' | head -n 1)
  if [ -n "$cwd" ] && [ ! -d "$cwd" ]; then cwd="$cwd (deleted)"; fi
  printf '%s\n' "Cwd=$cwd"
  printf '%s\n' "Age=$(ps -o etime= -p "$pid" | awk '{ n = split($1, t, /[-:]/); s = t[n] + 60 * t[n-1]; if (n > 2) s += 3600 * t[n-2]; if (n > 3) s += 86400 * t[n-3]; print s }')"
  printf '%s\n' "Env=$(ps eww -o command= -p "$pid" | tr ' ' '\n' | sed -n 's/^SHIPIT_RELEASE=//p' | head -n 1)"
fi
` + sharedFacts + `
[ -n "$port" ] || exit 0
lsof -nP -iTCP:"$port" -sTCP:LISTEN -Fp 2>/dev/null | sed -n 's/^p//p' | sort -un |
while read -r other; do
  owned=no
  if [ -n "$pid" ] && [ "$(ps -o pgid= -p "$other" | tr -d ' ')" = "$pid" ]; then owned=yes; fi
  printf '%s\n' "Listening=yes"
  printf '%s\n' "Listener=$other $owned $(ps -o command= -p "$other" | tr '\n' ' ')"
done
exit 0`

func (l launchd) Inspect(d Definition, replacement string) machine.Command {
	port := ""
	if d.Port > 0 {
		port = strconv.Itoa(d.Port)
	}
	return machine.Script(launchdScript, l.target(d), d.UnitFile(l.home), d.Link(), d.Marker(), d.ReleaseDir(), port, d.ActivationFile(), replacement, d.UnitCopy())
}

func (launchd) Parse(out string) State {
	s := State{Phase: PhaseAbsent}
	fields, disabled := map[string]string{}, false
	for _, line := range strings.Split(out, "\n") {
		key, value, found := strings.Cut(line, "=")
		switch {
		case !found || s.fact(key, value):
		case key == "Loaded":
			s.Phase, s.Enabled = PhaseStopped, true
		case key == "Disabled":
			disabled = true
		case key == "Print":
			name, text, _ := strings.Cut(value, " = ")
			if _, dup := fields[name]; !dup {
				fields[name] = text
			}
		}
	}
	s.Enabled = s.Enabled && !disabled
	if s.Phase == PhaseAbsent {
		return s
	}
	s.PID = number(fields["pid"])
	s.Restarts = max(0, number(fields["runs"])-1)
	s.Exit, s.Signal = launchdEnd(fields)
	s.Phase = launchdPhase(fields["state"], s)
	if s.Phase == PhaseFailed || s.Phase == PhaseRestarting {
		s.Cause = fields["state"]
	}
	return s
}

// launchdEnd is how the last process ended: "last exit code = 1", "= 78:
// EX_CONFIG", "= (never exited)", or "last terminating signal = Killed: 9".
func launchdEnd(fields map[string]string) (exit *int, signal string) {
	if text := fields["last terminating signal"]; text != "" {
		_, n, _ := strings.Cut(text, ": ")
		return nil, signalName(number(n))
	}
	code, _, _ := strings.Cut(fields["last exit code"], ":")
	if n, err := strconv.Atoi(strings.TrimSpace(code)); err == nil {
		return &n, ""
	}
	return nil, ""
}

// launchdPhase reads "state = …". A service that is kept alive and is not
// running waits to be started again: launchd throttles that to every 10 s.
func launchdPhase(text string, s State) Phase {
	ended := s.Signal != "" || s.Exit != nil
	failed := s.Signal != "" || s.Exit != nil && *s.Exit != 0
	switch {
	case s.PID > 0:
		return PhaseRunning
	case strings.HasPrefix(text, "spawn scheduled"), text == "waiting" && failed:
		if ended {
			return PhaseRestarting
		}
		return PhaseStarting
	case strings.HasPrefix(text, "spawn failed"):
		return PhaseFailed
	case strings.HasPrefix(text, "SIGTERMed"), strings.HasPrefix(text, "SIGKILLed"), text == "exiting":
		return PhaseStopping
	case failed:
		return PhaseFailed
	default:
		return PhaseStopped
	}
}

// reload is nothing: a plist is read when it is loaded.
func (launchd) Reload(Definition) []machine.Command { return nil }

// Exit codes of launchctl that say "it is already so", or "not yet".
const (
	launchdNoProcess  = 3   // bootout of what is not loaded
	launchdIO         = 5   // bootstrap while the last instance is still going
	launchdInProgress = 36  // bootout that goes on by itself
	launchdAlready    = 37  // an operation on it is under way
	launchdUnknown    = 113 // no such service in the domain
)

func (l launchd) Start(d Definition, _ State) []machine.Command {
	return []machine.Command{
		// A label that was disabled once can never be loaded until this.
		l.Enable(d),
		{Argv: []string{"launchctl", "bootstrap", d.Domain, d.UnitFile(l.home)}, Retry: []int{launchdIO, launchdAlready}},
		{Argv: []string{"launchctl", "kickstart", l.target(d)}, AllowExitCodes: []int{launchdAlready}},
	}
}

func (l launchd) Enable(d Definition) machine.Command {
	return machine.Command{Argv: []string{"launchctl", "enable", l.target(d)}}
}

// stop unloads the service: launchd sends SIGTERM, and SIGKILL after ExitTimeOut.
func (l launchd) Stop(d Definition) machine.Command {
	return machine.Command{
		Argv:           []string{"launchctl", "bootout", l.target(d)},
		AllowExitCodes: []int{launchdNoProcess, launchdInProgress, launchdUnknown},
	}
}

func (l launchd) Kill(d Definition) machine.Command {
	return machine.Command{
		Argv:           []string{"launchctl", "kill", "SIGKILL", l.target(d)},
		AllowExitCodes: []int{launchdNoProcess, launchdUnknown},
	}
}

func (launchd) Disable(Definition) []machine.Command { return nil }

func (launchd) Log(d Definition, _ State) []machine.Command {
	if len(d.Logs) == 0 {
		return []machine.Command{{Argv: []string{"true"}}}
	}
	return []machine.Command{{Argv: append([]string{"tail", "-n", "40"}, d.Logs...), AllowExitCodes: []int{1}}}
}

func (l launchd) Check(d Definition) machine.Command {
	return machine.Command{Argv: []string{"sh", "-c", `exec launchctl print "$1" >/dev/null`, "sh", d.Domain}}
}
