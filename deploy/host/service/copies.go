package service

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/internal/pattern"
)

// copiesScript prints the processes that work below the release directories $1, or in a
// folder that ends with $2, or whose environment has the variable $3; of them, where there
// is no /proc, only those of the program $4. Five lines each: PID, the control group or
// launchd's label as one, the command line in hexadecimal digits, the directory, and
// whether it has the variable. Those of containers and of services with mounts of their
// own are left out: /proc has their directories as they see them.
const copiesScript = `real=$(cd "$1" 2>/dev/null && pwd -P) || real=$1
if [ ! -d /proc/self ]; then
  lsof -a -d cwd -c "$4" -Fpn 2>/dev/null | awk '/^p/ { pid = substr($0, 2) } /^n/ { print pid, substr($0, 2) }' |
  while read -r pid dir; do
    env=$(ps eww -o command= -p "$pid" 2>/dev/null | tr ' ' '\n')
    role=no
    if [ -n "$3" ] && printf '%s\n' "$env" | grep -qxF -e "$3"; then role=yes; fi
    if [ "$role" = no ]; then
      case "$dir/" in "$real"/*) ;; *"${2:-//}"/) ;; *) continue ;; esac
    fi
    label=$(printf '%s\n' "$env" | sed -n 's/^XPC_SERVICE_NAME=//p' | head -n 1)
    words=$(ps -o command= -p "$pid" 2>/dev/null | tr -d '\n' | tr ' ' '\000' | od -An -v -tx1 | tr -d ' \n')
    [ -z "$words" ] || printf '%s\n' "$pid" "/$label.service" "$words" "$dir" "$role"
  done
  exit 0
fi
mounts=$(readlink /proc/self/ns/mnt)
show() {
  [ "$(readlink "/proc/$1/ns/mnt" 2>/dev/null)" = "$mounts" ] || return 0
  group=$(sed -n 's,^0::,,p; s,^[0-9]*:name=systemd:,,p' "/proc/$1/cgroup" 2>/dev/null | head -n 1)
  words=$(od -An -v -tx1 "/proc/$1/cmdline" 2>/dev/null | tr -d ' \n')
  [ -z "$words" ] || printf '%s\n' "$1" "$group" "$words" "$2" "$3"
}
ls -ln /proc/[0-9]*/cwd 2>/dev/null | DIR="$real/" END="$2" awk '
  { at = index($0, " /proc/"); if (!at) next
    rest = substr($0, at + 7); arrow = index(rest, " -> "); dir = substr(rest, arrow + 4)
    split(rest, part, "/"); n = length(dir); e = length(ENVIRON["END"])
    if (index(dir, ENVIRON["DIR"]) == 1 || e && substr(dir, n - e + 1) == ENVIRON["END"]) print part[1], dir }' |
while read -r pid dir; do show "$pid" "$dir" no; done
[ -n "$3" ] || exit 0
grep -lzxF -e "$3" /proc/[0-9]*/environ 2>/dev/null | while IFS=/ read -r _ _ pid _; do
  show "$pid" "$(readlink "/proc/$pid/cwd" 2>/dev/null)" yes
done
exit 0`

// FindCopies is a command that looks for processes which run the role's program
// beside its service: a second worker takes jobs as well, on whatever port.
func FindCopies(d Definition) machine.Command {
	return machine.Script(copiesScript, path.Dir(d.ReleaseDir()), packageOf(d), roleVariable(d), path.Base(program(d)))
}

// roleVariable is the variable by which the role's program knows which role it has, such
// as WORKER_ROLE=host; empty if there is none.
func roleVariable(d Definition) string {
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		if (name == "ROLE" || strings.HasSuffix(name, "_ROLE")) && d.Env[name] != "" {
			return name + "=" + d.Env[name]
		}
	}
	return ""
}

// packageOf is the folder of the role's package with a slash before it, such as
// /packages/worker; empty if the package is the whole tree.
func packageOf(d Definition) string {
	return strings.TrimPrefix(strings.TrimPrefix(d.Workdir, d.ReleaseDir()), "/app")
}

// ofPackage reports whether a process works in the package's folder, or is given a
// file of it: roles with other packages share the program.
func ofPackage(words []string, dir, pkg string) bool {
	return strings.HasSuffix(dir, pkg) || slices.ContainsFunc(words, func(w string) bool { return strings.Contains("/"+w, pkg+"/") })
}

// ParseCopies names the copies in what FindCopies printed, five lines a process. The
// processes of services are none.
func ParseCopies(out string, d Definition, s State, services []string) []string {
	var notes []string
	seen := map[int]bool{}
	all := strings.Split(out, "\n")
	for ; len(all) >= 5; all = all[5:] {
		pid, _ := strconv.Atoi(all[0])
		group, words, dir, sameRole := strings.Split(all[1], "/"), wordsOf(all[2]), all[3], all[4] == "yes"
		of := func(service string) bool { return slices.Contains(group, service+".service") }
		ours := pid == s.PID || slices.ContainsFunc(append(services, d.Service), of) || s.ofAnotherApp(dir, d)
		if len(words) == 0 || seen[pid] || ours || !sameProgram(words, s.main.words, d) || !sameRole && !ofPackage(words, dir, packageOf(d)) {
			continue
		}
		seen[pid] = true
		what := ""
		if sameRole {
			what = " with " + roleVariable(d)
		}
		notes = append(notes, fmt.Sprintf("PID %d (%s) runs beside the service%s, in %s", pid, shown(strings.Join(words, " ")), what, dir))
	}
	return notes[:min(len(notes), 3)]
}

// anyRelease is in the path of a release directory of whatever app.
var anyRelease = pattern.Lazy(`/releases/[0-9a-f]{64}(?:/|$)`)

// ofAnotherApp reports whether a directory is of a release below another root:
// the same program there is another app's, or that of another environment.
func (s State) ofAnotherApp(dir string, d Definition) bool {
	releases := path.Dir(d.ReleaseDir())
	if s.real != "" {
		releases = path.Dir(s.real)
	}
	return anyRelease().MatchString(dir) && !within(dir, releases)
}

// sameProgram reports whether a process runs what the main process runs, or where
// there is none what the definition says. Other arguments make no other program.
func sameProgram(words, main []string, d Definition) bool {
	known := program(d)
	if len(main) > 0 {
		known = main[0]
	}
	return known != "" && path.Base(words[0]) == path.Base(known)
}

// program is what the definition starts.
func program(d Definition) string {
	switch {
	case len(d.Command) > 1 && d.Command[0] == "/usr/bin/env":
		return d.Command[1]
	case len(d.Command) > 0:
		return d.Command[0]
	}
	return ""
}
