package host

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

// definition is a host role's one rendered object, as commands use it.
type definition struct{ release.ServiceDefinition }

// define reads the definition of a host role and checks what commands rely on.
func define(role release.Role) (definition, error) {
	var d definition
	if len(role.Objects) != 1 {
		return d, fmt.Errorf("role %s has %d objects, a host role has one service definition", role.Name, len(role.Objects))
	}
	if err := json.Unmarshal(role.Objects[0], &d); err != nil {
		return d, fmt.Errorf("service definition of role %s: %w", role.Name, err)
	}
	d.Role = role.Name
	if fault := d.fault(); fault != "" {
		return d, fmt.Errorf("service definition of role %s: %s", role.Name, fault)
	}
	if d.Digest != role.Digest {
		return d, fmt.Errorf("service definition of role %s is for %s, the role for %s", role.Name, d.Digest, role.Digest)
	}
	return d, nil
}

func (d definition) fault() string {
	switch {
	case d.Kind != "systemd" && d.Kind != "launchd":
		return fmt.Sprintf("kind %q is neither systemd nor launchd", d.Kind)
	case d.Service == "" || strings.ContainsAny(d.Service, "/\n\x00") || strings.HasPrefix(d.Service, "-"):
		return fmt.Sprintf("%q is no service name", d.Service)
	case d.File == "" || path.Base(d.File) != d.File || strings.HasPrefix(d.File, "."):
		return fmt.Sprintf("%q is no file name", d.File)
	case !path.IsAbs(d.Root) || path.Clean(d.Root) == "/" || strings.ContainsAny(d.Root, "\n\x00"):
		return fmt.Sprintf("root %q is no absolute folder", d.Root)
	case !isDigest(d.Digest):
		return fmt.Sprintf("%q is no sha256 digest", d.Digest)
	case d.Workdir != d.releaseDir() && !strings.HasPrefix(path.Clean(d.Workdir), d.releaseDir()+"/"):
		return fmt.Sprintf("workdir %q is not inside the release directory %s", d.Workdir, d.releaseDir())
	case d.Port < 0 || d.Port > 65535:
		return fmt.Sprintf("%d is no port", d.Port)
	}
	return ""
}

// isDigest reports whether s is sha256: and 64 lower-case hex digits.
func isDigest(s string) bool {
	hexes, found := strings.CutPrefix(s, "sha256:")
	return found && isHex64(hexes)
}

func isHex64(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func (d definition) releaseDir() string {
	return path.Join(d.Root, "releases", d.Digest[len("sha256:"):])
}

// link tells people where the role's release is; nothing is started through it.
func (d definition) link() string { return path.Join(d.Root, "current", d.Role) }

// marker stands while a switch is under way: a process that was started before
// the unit was written is not one of the new unit.
func (d definition) marker() string { return path.Join(d.Root, "switching", d.Service) }

// kept is our copy of the unit that was installed last; beside it stand
// NAME.previous, and NAME.before: what was there before shipit came.
func (d definition) kept() string { return path.Join(d.Root, "units", d.File) }

// unitFile is where the manager reads the definition.
func (d definition) unitFile(home string) string {
	dir := d.Dir
	switch {
	case dir != "":
	case d.Kind == "systemd" && d.Domain == "user":
		dir = path.Join(home, ".config/systemd/user")
	case d.Kind == "systemd":
		dir = "/etc/systemd/system"
	case d.Domain == "system":
		dir = "/Library/LaunchDaemons"
	default:
		dir = path.Join(home, "Library/LaunchAgents")
	}
	return path.Join(dir, d.File)
}

func (d definition) stopTimeout() time.Duration {
	return or(time.Duration(d.Stop)*time.Millisecond, 10*time.Second)
}

// stableTime is how long the service must stay up after it was ready.
func (d definition) stableTime() time.Duration {
	return or(time.Duration(d.Stable)*time.Millisecond, 3*time.Second)
}

// named is the definition under the name of another systemd service.
func (d definition) named(service string) definition {
	d.Service, d.File = service, service+".service"
	return d
}

// object names the service in failures and findings.
func (d definition) object() string { return "Service " + d.Service }
