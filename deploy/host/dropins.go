package host

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// overrides is what drop-in files change of a unit: those of the unit itself,
// those of `systemctl set-property`, and global ones for all services.
type overrides struct {
	changes []string // what runs is not what the unit says
	limits  []string // limits and descriptions: shown and let be
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
var harmless = regexp.MustCompile(`^(?:(?:Startup)?(?:CPU|IO|BlockIO|Memory|AllowedCPUs|AllowedMemoryNodes)[A-Za-z]*|Tasks[A-Za-z]*|IP(?:Accounting|Ingress[A-Za-z]*|Egress[A-Za-z]*)|` +
	`Limit[A-Z]+|Managed[A-Za-z]+|Slice|Nice|OOM[A-Za-z]+|Coredump[A-Za-z]+|Log[A-Z][A-Za-z]+|Timeout[A-Za-z]+|` +
	`After|Before|Wants|Description|Documentation)$`)

// overrides reads the drop-in files that the manager has read.
func (m *machine) overrides(ctx context.Context, s state) (overrides, error) {
	if len(s.dropIns) == 0 {
		return overrides{}, nil
	}
	res, err := m.read(ctx, script(dropInKeys, s.dropIns...))
	if err != nil {
		return overrides{}, fmt.Errorf("read drop-in files: %w", err)
	}
	return parseOverrides(res.Stdout), nil
}

func parseOverrides(out string) overrides {
	var o overrides
	add := func(list []string, file, key string) []string {
		prefix := "drop-in " + file + " changes "
		if i := slices.IndexFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) }); i >= 0 {
			list[i] += ", " + key
			return list
		}
		return append(list, prefix+key)
	}
	for _, line := range lines(out) {
		at := strings.LastIndexByte(line, ':')
		file, key := line[:max(at, 0)], line[at+1:]
		if harmless.MatchString(key) {
			o.limits = add(o.limits, file, key)
		} else {
			o.changes = add(o.changes, file, key)
		}
	}
	return o
}
