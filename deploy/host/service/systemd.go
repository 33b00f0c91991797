package service

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// systemd keeps services as units.
type systemd struct{ home string }

func (systemd) scope(d Definition) string {
	if d.Domain == "user" {
		return "--user"
	}
	return "--system"
}

func (systemd) unit(d Definition) string { return d.Service + ".service" }

// ctl is a call of systemctl that finds the user's manager without a login
// session.
func (s systemd) ctl(d Definition, words ...string) machine.Command {
	argv := append([]string{"systemctl", s.scope(d), "--no-pager", "--no-ask-password"}, words...)
	if d.Domain == "user" {
		argv = append([]string{"sh", "-c", `XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}" exec "$@"`, "sh"}, argv...)
	}
	return machine.Command{Argv: argv}
}

// systemdScript reads a service. Its main process is asked for in the kernel;
// of the environment only shipit's own variable leaves the machine. The owner of
// a listening socket is found by its inode, the service of a process by its
// control group.
const systemdScript = `scope=$1 name=$2 unit=$3 link=$4 marker=$5 dir=$6 port=$7 activated=$8
shift 8
user=$1 envfile=$2 replacement=$3 copy=$4
hex() { od -An -v -tx1 "$1" 2>/dev/null | tr -d ' \n'; }
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
show=$(systemctl "$scope" --no-pager show -p LoadState,ActiveState,SubState,Result,MainPID,ExecMainCode,ExecMainStatus,NRestarts,ControlGroup,NeedDaemonReload,DropInPaths,UnitFileState,InvocationID,FragmentPath "$name") || exit
printf '%s\n' "$show"
pid=$(printf '%s\n' "$show" | sed -n 's/^MainPID=//p')
group=$(printf '%s\n' "$show" | sed -n 's/^ControlGroup=//p')
if [ "${pid:-0}" -gt 0 ]; then
  printf '%s\n' "Cwd=$(readlink "/proc/$pid/cwd" 2>/dev/null)"
  printf '%s\n' "Environ=$(hex "/proc/$pid/environ")" "Cmdline=$(hex "/proc/$pid/cmdline")"
  printf '%s\n' "RootDir=$(readlink "/proc/$pid/root" 2>/dev/null)" "Uid=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)"
  ticks=$(getconf CLK_TCK 2>/dev/null || echo 100)
  since=$(sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 20)
  printf '%s\n' "Age=$(awk -v since="${since:-0}" -v ticks="$ticks" '{ printf "%d", $1 - since / ticks }' /proc/uptime)"
  printf '%s\n' "Since=$(awk -v since="${since:-0}" -v ticks="$ticks" '$1 == "btime" && since > 0 { printf "%d", $2 + since / ticks }' /proc/stat)"
  if [ "$(readlink "/proc/$pid/ns/mnt" 2>/dev/null)" != "$(readlink /proc/self/ns/mnt)" ]; then echo Private=yes; fi
  systemctl "$scope" --no-pager show-environment 2>/dev/null | sed 's/^/ManagerEnv=/'
  if [ -n "$envfile" ]; then
    if [ ! -e "$envfile" ]; then echo EnvFile=; elif [ -r "$envfile" ]; then printf '%s\n' "EnvFile=$(hex "$envfile")"; fi
  fi
fi
if [ -z "$user" ]; then if [ "$scope" = --user ]; then user=$(id -u); else user=0; fi; fi
printf '%s\n' "Account=$(getent passwd "$user")"
if [ "$scope" = --user ] && [ -d /run/systemd/system ] && [ ! -e "/var/lib/systemd/linger/$(id -un)" ]; then printf '%s\n' "NoLinger=$(id -un)"; fi
fragment=$(printf '%s\n' "$show" | sed -n 's/^FragmentPath=//p')
if [ -n "$fragment" ] && [ -e "$unit" ] && [ ! "$fragment" -ef "$unit" ]; then printf '%s\n' "Shadow=$fragment"; fi
` + sharedFacts + `
[ -n "$port" ] || exit 0
inodes=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v p=":$port" '$4 == "0A" && substr($2, length($2) - 4) == p { printf " %s ", $10 }')
[ -n "$inodes" ] || exit 0
echo Listening=yes
ls -ln /proc/[0-9]*/fd 2>/dev/null | awk -v want="$inodes" '
  /^\/proc\// { split($0, a, "/"); pid = a[3] }
  match($0, /socket:\[[0-9]+\]/) { if (index(want, " " substr($0, RSTART + 8, RLENGTH - 9) " ")) print pid }' | sort -un |
while read -r pid; do
  owned=no
  if [ -n "$group" ]; then
    case "$(sed -n 's,^0::\(.*\),\1/,p; s,^[0-9]*:name=systemd:\(.*\),\1/,p' "/proc/$pid/cgroup" 2>/dev/null)" in
    *"$group/"*) owned=yes ;;
    esac
  fi
  of=$(sed -n 's,^\(0:\|[0-9]*:name=systemd\):.*/\([^/]*\.service\)$,\2,p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
  case "$of" in *[[:space:]]*) of= ;; esac
  if [ "$owned" = no ] && [ -n "$of" ] && [ -e "${copy%/*}/$of" ]; then owned=$of; fi
  words=$(tr '\0\n' '  ' 2>/dev/null <"/proc/$pid/cmdline")
  printf '%s\n' "Listener=$pid $owned $words"
done
exit 0`

func (s systemd) Inspect(d Definition, replacement string) machine.Command {
	port := ""
	if d.Port > 0 {
		port = fmt.Sprintf("%04X", d.Port)
	}
	return machine.Script(systemdScript, s.scope(d), s.unit(d), d.UnitFile(s.home), d.Link(), d.Marker(), d.ReleaseDir(), port, d.ActivationFile(), d.User, d.EnvFile, replacement, d.UnitCopy())
}

func (systemd) Parse(out string) State {
	var s State
	facts := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		key, value, found := strings.Cut(line, "=")
		if found && !s.fact(key, value) {
			facts[key] = value
		}
	}
	s.Phase = systemdPhase(facts["LoadState"], facts["ActiveState"], facts["SubState"])
	s.Rejected = facts["LoadState"] == "bad-setting" || facts["LoadState"] == "error"
	s.PID = number(facts["MainPID"])
	s.Restarts = number(facts["NRestarts"])
	// enabled-runtime is gone with the next boot; a static unit has nothing to enable.
	s.Enabled = facts["UnitFileState"] == "enabled" || facts["UnitFileState"] == "static"
	s.outdated = facts["NeedDaemonReload"] == "yes"
	s.Invocation = facts["InvocationID"]
	if paths := facts["DropInPaths"]; paths != "" {
		s.DropIns = strings.Fields(paths)
	}
	if result := facts["Result"]; result != "" && result != "success" {
		s.Cause = result
	}
	switch status := number(facts["ExecMainStatus"]); facts["ExecMainCode"] {
	case "1": // CLD_EXITED
		s.Exit = &status
	case "2", "3": // CLD_KILLED, CLD_DUMPED
		s.Signal = signalName(status)
	}
	return s
}

func systemdPhase(load, active, sub string) Phase {
	switch {
	case sub == "auto-restart":
		return PhaseRestarting
	case active == "active" || active == "reloading":
		return PhaseRunning
	case active == "activating":
		return PhaseStarting
	case active == "deactivating":
		return PhaseStopping
	case active == "failed":
		return PhaseFailed
	case load == "not-found":
		return PhaseAbsent
	default:
		return PhaseStopped
	}
}

func (s systemd) Reload(d Definition) []machine.Command {
	return []machine.Command{s.ctl(d, "daemon-reload")}
}

func (s systemd) Start(d Definition, st State) []machine.Command {
	var cmds []machine.Command
	if !st.Enabled {
		cmds = append(cmds, s.Enable(d))
	}
	// One that has not failed has nothing to reset.
	reset := s.ctl(d, "reset-failed", s.unit(d))
	reset.AllowExitCodes = []int{1, 5}
	return append(cmds, reset, s.ctl(d, "start", s.unit(d)))
}

// enable makes the service start with the machine, or the user's manager. A unit
// without [Install] cannot be enabled, which is no fault.
func (s systemd) Enable(d Definition) machine.Command {
	enable := s.ctl(d, "enable", "--quiet", s.unit(d))
	enable.AllowExitCodes = []int{1}
	return enable
}

func (s systemd) Stop(d Definition) machine.Command {
	cmd := s.ctl(d, "stop", s.unit(d))
	cmd.AllowExitCodes = []int{5} // not loaded
	return cmd
}

// kill ends every process of the unit's control group, and no other.
func (s systemd) Kill(d Definition) machine.Command {
	cmd := s.ctl(d, "kill", "--kill-who=all", "--signal=SIGKILL", s.unit(d))
	cmd.AllowExitCodes = []int{1, 5}
	return cmd
}

func (s systemd) Disable(d Definition) []machine.Command {
	reset := s.ctl(d, "reset-failed", s.unit(d))
	reset.AllowExitCodes = []int{1, 5}
	disable := s.ctl(d, "disable", "--quiet", s.unit(d))
	disable.AllowExitCodes = []int{1}
	return []machine.Command{disable, reset}
}

// logScript prints the last lines of the start $1, or if there are none, or $1 is
// empty, of the unit $2: of a process that ended at once the journal may know no
// more than its unit. The other words select the journal.
const logScript = `start=$1 unit=$2
shift 2
set -- --no-pager --quiet -o cat -n 40 "$@"
if [ -n "$start" ]; then
  out=$(journalctl "$@" "_SYSTEMD_INVOCATION_ID=$start")
  if [ -n "$out" ]; then
    printf '%s\n' "$out"
    exit 0
  fi
fi
journalctl "$@" -u "$unit"`

// log reads the last lines of this start. The journal is written behind the
// service's back, so it is told to catch up first; where only root may say so, what
// is there is read.
func (s systemd) Log(d Definition, st State) []machine.Command {
	args := []string{st.Invocation, s.unit(d)}
	if d.Domain == "user" {
		args = append(args, "--user")
	}
	read := machine.Script(logScript, args...)
	read.AllowExitCodes = []int{1}
	return []machine.Command{{Argv: []string{"journalctl", "--quiet", "--sync"}, AllowExitCodes: []int{1}}, read}
}

func (s systemd) Check(d Definition) machine.Command { return s.ctl(d, "show", "-p", "Version") }

// signalName is the name of a signal whose number is the same on all systems.
func signalName(n int) string {
	names := map[int]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM"}
	if name, found := names[n]; found {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}
