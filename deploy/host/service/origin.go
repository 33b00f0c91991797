package service

import (
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/internal/pattern"
)

// Ban is a pattern that nothing which a machine starts may hold.
type Ban struct {
	Pattern *regexp.Regexp
	Why     string
}

// Origin is where what a machine starts for a service comes from, if it is not the
// release: the commands of the unit and of the process, and the folders they work in.
type Origin struct {
	unit    string   // text of the unit or plist
	process string   // command line of the process
	dirs    []string // of the unit, of the process
	words   []string // of their commands
}

// OriginOf is where the service comes from: by its file, which may be nil, and by its main
// process.
func OriginOf(d Definition, file []byte, s State) Origin {
	says := startsOf(d.Kind, string(file))
	o := Origin{unit: string(file), process: strings.Join(s.main.words, " "), words: slices.Concat(says.Command, s.main.words)}
	for _, dir := range []string{says.Dir, strings.TrimSuffix(s.Cwd, deletedMark)} {
		if dir != "" && !slices.Contains(o.dirs, dir) {
			o.dirs = append(o.dirs, dir)
		}
	}
	return o
}

// originScript prints the git checkouts that the folders $2, $3, … are in, as many of
// them as $1 says, and then the shell scripts among the words that follow, each with its
// text in hexadecimal digits.
const originScript = `count=$1
shift
up() {
  d=$1
  while [ -n "$d" ] && [ "$d" != . ]; do
    if [ -e "$d/.git" ]; then printf '%s\n' "Checkout=$d"; return; fi
    d=${d%/*}
  done
}
dirs=$(mktemp) || exit 0
trap 'rm -f "$dirs"' EXIT
while [ "$count" -gt 0 ]; do
  up "$1"
  printf '%s\n' "$1" >>"$dirs"
  count=$((count - 1))
  shift
done
for word; do
  { printf '\n'; cat "$dirs"; } | while IFS= read -r dir; do
    case "$word" in /*) file=$word; [ -z "$dir" ] || continue ;; *) file=$dir/$word; [ -n "$dir" ] || continue ;; esac
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then continue; fi
    up "${file%/*}"
    case "$file" in
    *.sh | *.bash | *.zsh) ;;
    *) [ "$(head -c 2 "$file" | tr -d '\0')" = '#!' ] || continue ;;
    esac
    printf '%s\n' "Script=$file" "Text=$(head -c 65536 "$file" | od -An -v -tx1 | tr -d ' \n')"
  done
done
exit 0`

// Inspect is a command that looks at what is started on its machine.
func (o Origin) Inspect() machine.Command {
	return machine.Script(originScript, append(append([]string{fmt.Sprint(len(o.dirs))}, o.dirs...), o.words...)...)
}

// mutation is a command that changes what was installed.
var mutation = pattern.Lazy(`\b(?:git\s+(?:-C\s+\S+\s+)?(?:pull|fetch|checkout|reset|clone|merge|rebase)|(?:bun|npm|pnpm|yarn)\s+(?:install|i|ci|add|update|upgrade)|rsync)\b`)

// Notes say what is wrong with what is started, in what Inspect printed: that it comes
// from a checkout, that a script changes what it starts, that something is forbidden.
func (o Origin) Notes(out string, bans []Ban) []string {
	var notes []string
	add := func(format string, args ...any) {
		if note := fmt.Sprintf(format, args...); !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	look := func(where, text string) {
		for i, line := range strings.Split(text, "\n") {
			at := where
			if path.IsAbs(where) {
				at = fmt.Sprintf("%s:%d", where, i+1)
			}
			code, _, _ := strings.Cut(line, " #")
			if found := mutation().FindString(code); found != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				add("%s runs `%s`", at, strings.Join(strings.Fields(found), " "))
			}
			for _, ban := range bans {
				if found := ban.Pattern.FindString(line); found != "" {
					add("%s names %q, which is forbidden%s", at, found, because(ban.Why))
				}
			}
		}
	}
	script := ""
	for _, line := range machine.Lines(out) {
		switch key, value, _ := strings.Cut(line, "="); key {
		case "Checkout":
			add("it starts from the checkout %s", value)
		case "Script":
			script = value
		case "Text":
			text, _ := hex.DecodeString(value)
			look(script, string(text))
		}
	}
	look("its definition", o.unit)
	look("its process", o.process)
	for _, dir := range o.dirs {
		for _, ban := range bans {
			if found := ban.Pattern.FindString(dir); found != "" {
				add("it works in %s, which is forbidden%s", dir, because(ban.Why))
			}
		}
	}
	return notes[:min(len(notes), 6)]
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
