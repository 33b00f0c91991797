package service

import (
	"slices"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/internal/pattern"
)

// Overrides is what drop-in files change of a unit: those of the unit itself,
// those of `systemctl set-property`, and global ones for all services.
type Overrides struct {
	Changes []string // what runs is not what the unit says
	Limits  []string // limits and descriptions: shown, and no drift
}

// dropInKeys prints FILE:KEY for every setting of the drop-in files $1, $2, ….
// Values are not read: they may be secret.
const dropInKeys = `for file; do
  [ -r "$file" ] || { printf '%s\n' "$file:?"; continue; }
  sed -n 's/^[[:space:]]*\([A-Za-z][A-Za-z0-9]*\)[[:space:]]*=.*$/\1/p' "$file" | sort -u | while read -r key; do
    printf '%s\n' "$file:$key"
  done
done`

// harmless are the settings of systemd.resource-control(5), limits of
// systemd.exec(5), times, logging, order and descriptions: none of them changes
// what runs, as whom, or with which environment.
var harmless = pattern.Lazy(`^(?:(?:Startup)?(?:CPU|IO|BlockIO|Memory|AllowedCPUs|AllowedMemoryNodes)[A-Za-z]*|Tasks[A-Za-z]*|IP(?:Accounting|Ingress[A-Za-z]*|Egress[A-Za-z]*)|` +
	`Limit[A-Z]+|Managed[A-Za-z]+|Slice|Nice|OOM[A-Za-z]+|Coredump[A-Za-z]+|Log[A-Z][A-Za-z]+|Timeout[A-Za-z]+|` +
	`After|Before|Wants|Description|Documentation)$`)

// ReadOverrides is a command that reads drop-in files.
func ReadOverrides(dropIns []string) machine.Command { return machine.Script(dropInKeys, dropIns...) }

// ParseOverrides reads what ReadOverrides printed.
func ParseOverrides(out string) Overrides {
	var o Overrides
	add := func(list []string, file, key string) []string {
		prefix := "drop-in " + file + " changes "
		if i := slices.IndexFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) }); i >= 0 {
			list[i] += ", " + key
			return list
		}
		return append(list, prefix+key)
	}
	for _, line := range machine.Lines(out) {
		at := strings.LastIndexByte(line, ':')
		file, key := line[:max(at, 0)], line[at+1:]
		if harmless().MatchString(key) {
			o.Limits = add(o.Limits, file, key)
		} else {
			o.Changes = add(o.Changes, file, key)
		}
	}
	return o
}
