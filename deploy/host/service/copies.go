package service

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// copiesScript prints the processes that work below the release directories $1,
// or in a folder that ends with $2: PID, the cgroup, the command line in
// hexadecimal digits and the directory. Those of containers and of services with
// mounts of their own are left out: /proc has their directories as they see
// them. Where there is no /proc nothing is printed.
const copiesScript = `[ -d /proc/self ] || exit 0
real=$(cd "$1" 2>/dev/null && pwd -P) || real=$1
mounts=$(readlink /proc/self/ns/mnt)
ls -ln /proc/[0-9]*/cwd 2>/dev/null | DIR="$real/" END="$2" awk '
  { at = index($0, " /proc/"); if (!at) next
    rest = substr($0, at + 7); arrow = index(rest, " -> "); dir = substr(rest, arrow + 4)
    split(rest, part, "/"); n = length(dir); e = length(ENVIRON["END"])
    if (index(dir, ENVIRON["DIR"]) == 1 || e && substr(dir, n - e + 1) == ENVIRON["END"]) print part[1], dir }' |
while read -r pid dir; do
  [ "$(readlink "/proc/$pid/ns/mnt" 2>/dev/null)" = "$mounts" ] || continue
  group=$(sed -n 's,^0::,,p; s,^[0-9]*:name=systemd:,,p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
  words=$(od -An -v -tx1 "/proc/$pid/cmdline" 2>/dev/null | tr -d ' \n')
  [ -z "$words" ] || printf '%s\n' "$pid" "$group" "$words" "$dir"
done`

// FindCopies is a command that looks for processes which run the role's program
// beside its service: a second worker takes jobs as well, on whatever port.
func FindCopies(d Definition) machine.Command {
	return machine.Script(copiesScript, path.Dir(d.ReleaseDir()), packageOf(d))
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

// ParseCopies names the copies in what FindCopies printed, four lines a process. The
// processes of services are none.
func ParseCopies(out string, d Definition, s State, services []string) []string {
	var notes []string
	all := strings.Split(out, "\n")
	for ; len(all) >= 4; all = all[4:] {
		pid, _ := strconv.Atoi(all[0])
		group, words, dir := strings.Split(all[1], "/"), wordsOf(all[2]), all[3]
		of := func(service string) bool { return slices.Contains(group, service+".service") }
		if len(words) == 0 || pid == s.PID || slices.ContainsFunc(append(services, d.Service), of) || !sameProgram(words, s.main.words, d) || !ofPackage(words, dir, packageOf(d)) || s.ofAnotherApp(dir, d) {
			continue
		}
		notes = append(notes, fmt.Sprintf("PID %d (%s) runs beside the service, in %s", pid, shown(strings.Join(words, " ")), dir))
	}
	return notes[:min(len(notes), 3)]
}

// anyRelease is in the path of a release directory of whatever app.
var anyRelease = regexp.MustCompile(`/releases/[0-9a-f]{64}(?:/|$)`)

// ofAnotherApp reports whether a directory is of a release below another root:
// the same program there is another app's, or that of another environment.
func (s State) ofAnotherApp(dir string, d Definition) bool {
	releases := path.Dir(d.ReleaseDir())
	if s.real != "" {
		releases = path.Dir(s.real)
	}
	return anyRelease.MatchString(dir) && !within(dir, releases)
}

// sameProgram reports whether a process runs what the main process runs, or where
// there is none what the definition says. Other arguments make no other program.
func sameProgram(words, main []string, d Definition) bool {
	if len(main) == 0 {
		if main = d.Command; len(main) > 1 && main[0] == "/usr/bin/env" {
			main = main[1:]
		}
	}
	return len(main) > 0 && path.Base(words[0]) == path.Base(main[0])
}
