package service

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/release"
)

// Definition is a host role's one rendered object, as commands use it.
type Definition struct{ release.ServiceDefinition }

// Define reads the definition of a host role and checks what commands rely on.
func Define(role release.Role) (Definition, error) {
	var d Definition
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

func (d Definition) fault() string {
	switch {
	case d.Kind != "systemd" && d.Kind != "launchd":
		return fmt.Sprintf("kind %q is neither systemd nor launchd", d.Kind)
	case d.Service == "" || strings.ContainsAny(d.Service, "/\n\x00") || strings.HasPrefix(d.Service, "-"):
		return fmt.Sprintf("%q is no service name", d.Service)
	case d.File == "" || path.Base(d.File) != d.File || strings.HasPrefix(d.File, "."):
		return fmt.Sprintf("%q is no file name", d.File)
	case !path.IsAbs(d.Root) || path.Clean(d.Root) == "/" || strings.ContainsAny(d.Root, "\n\x00"):
		return fmt.Sprintf("root %q is no absolute folder", d.Root)
	case d.Found != nil:
		return ""
	case !content.IsDigest(d.Digest):
		return fmt.Sprintf("%q is no sha256 digest", d.Digest)
	case d.Workdir != d.ReleaseDir() && !strings.HasPrefix(path.Clean(d.Workdir), d.ReleaseDir()+"/"):
		return fmt.Sprintf("workdir %q is not inside the release directory %s", d.Workdir, d.ReleaseDir())
	case d.Port < 0 || d.Port > 65535:
		return fmt.Sprintf("%d is no port", d.Port)
	}
	return ""
}

// ReleaseDir is where the image is unpacked; of a service that ran before the first
// release, the folder in which it worked.
func (d Definition) ReleaseDir() string {
	if d.Found != nil {
		return cmp.Or(d.Found.Folder, d.Root)
	}
	return content.Dir(d.Root, d.Digest)
}

// Link is the link to the role's current release, for people: nothing is started through
// it.
func (d Definition) Link() string { return path.Join(d.Root, "current", d.Role) }

// Marker exists while a switch is under way: a process that was started before
// the unit was written is not one of the new unit.
func (d Definition) Marker() string { return path.Join(d.Root, "switching", d.Service) }

// UnitCopy is the copy of the unit that was installed last. Beside it are NAME.previous,
// the one before it, and NAME.before, the one that shipit did not install.
func (d Definition) UnitCopy() string { return path.Join(d.UnitsDir(), d.File) }

// UnitsDir has the copies of the units of all services below the same root.
func (d Definition) UnitsDir() string { return path.Join(d.Root, "units") }

// UnitFile is where the manager reads the definition.
func (d Definition) UnitFile(home string) string {
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

// StopTimeout is from SIGTERM to SIGKILL.
func (d Definition) StopTimeout() time.Duration {
	return cmp.Or(time.Duration(d.Stop)*time.Millisecond, 10*time.Second)
}

// StableTime is how long the service must stay up after it was ready.
func (d Definition) StableTime() time.Duration {
	return cmp.Or(time.Duration(d.Stable)*time.Millisecond, 3*time.Second)
}

// WithService is the definition under the name of another systemd service.
func (d Definition) WithService(service string) Definition {
	d.Service, d.File = service, service+".service"
	return d
}

// Object names the service in failures and findings.
func (d Definition) Object() string { return "Service " + d.Service }
