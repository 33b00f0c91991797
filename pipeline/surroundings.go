package pipeline

import (
	"cmp"
	"time"
)

// around is what a build must not depend on and shipit keeps equal for all builds.
// The zero value is what every build has but the first of a comparison.
type around struct {
	umask  string // of commands; "" is 022
	zone   string // time zone of commands; "" is UTC
	oneCPU bool   // commands see one CPU, where the program taskset is there
}

// surroundings differ from those of an ordinary build in all that can be varied
// without root. Only the local time can: it is that of another day.
func surroundings(now time.Time) around {
	zone := "GMT-12" // POSIX: twelve hours ahead of UTC
	if now.UTC().Hour() < 12 {
		zone = "GMT+12"
	}
	return around{umask: "002", zone: zone, oneCPU: true}
}

// pin lets the shell, and what it starts, use the first CPU that it may use.
const pin = `while read -r name value; do test "$name" != Cpus_allowed_list: || cpu=${value%%[-,]*}; done </proc/self/status; ` +
	`taskset -cp "$cpu" $$ >/dev/null 2>&1; `

// shell is the command line that runs a command, with either builder.
func (a around) shell(args []string) []string {
	script := "umask " + cmp.Or(a.umask, "022") + ` && exec "$@"`
	if a.oneCPU {
		script = pin + script
	}
	return append([]string{"/bin/sh", "-c", script, "sh"}, args...)
}

// timeZone is TZ of commands.
func (a around) timeZone() string { return cmp.Or(a.zone, "UTC") }
