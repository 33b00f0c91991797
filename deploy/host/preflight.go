package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// needs is what a role requires of a machine beyond its definition.
type needs struct {
	runtime map[string]string // program → semver range that its --version must satisfy
	others  []string          // services of the release's other roles
	// services of the app on the machine: their processes are no second ones
	services []string
	bans     []service.Ban

	image     string // by digest
	platforms func(ctx context.Context, ref string) ([]string, error)
}

// preflight finds what would prevent the role from running on the machine: the service
// manager, the port, drop-in files that change the unit, disk space, permissions, the
// versions of runtimes. It changes nothing. An error means that the machine could not be
// read.
func (r runner) preflight(ctx context.Context, role release.Role, n needs) ([]release.Finding, error) {
	d, err := service.Define(role)
	if err != nil {
		return nil, err
	}
	f, err := r.managerAnswers(ctx, d)
	if err != nil {
		return nil, err
	}
	if f.Code != "" {
		return []release.Finding{f}, nil
	}
	s, err := r.inspect(ctx, d)
	if err != nil {
		return nil, err
	}
	findings, err := r.running(ctx, d, s, n)
	if err != nil || d.Found != nil {
		return findings, err // of what ran before the first release nothing is unpacked
	}
	found, err := r.started(ctx, d, s, n)
	if findings = append(findings, found...); err != nil {
		return findings, err
	}
	for _, check := range []func(context.Context, service.Definition, needs) ([]release.Finding, error){r.space, r.unit, r.runtimes} {
		if found, err = check(ctx, d, n); err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func finding(d service.Definition, code release.Code, object, message, hint string) release.Finding {
	return release.Finding{Code: code, Severity: release.Refuses, Role: d.Role, Object: object, Message: message, Hint: hint}
}

// managerAnswers is a finding if the service manager does not answer; its zero value
// says that it does.
func (r runner) managerAnswers(ctx context.Context, d service.Definition) (release.Finding, error) {
	_, err := r.Read(ctx, r.manager(d).Check(d))
	var lost *machine.LostError
	switch {
	case err == nil:
		return release.Finding{}, nil
	case errors.As(err, &lost) || ctx.Err() != nil:
		return release.Finding{}, err
	}
	f := finding(d, release.CodeServiceManager, d.Kind+" "+d.Domain, "does not answer on "+r.Name+": "+machine.Excerpt(err.Error()),
		"check host.manager and host.domain in shipit.yaml against the machine")
	f.Fixed = true
	return f, nil
}

// running checks the port and the drop-in files.
func (r runner) running(ctx context.Context, d service.Definition, s service.State, n needs) ([]release.Finding, error) {
	var findings []release.Finding
	if h := s.Foreign(); h != nil && s.Predecessor(n.others) == "" {
		taken := d.PortTaken(*h)
		f := finding(d, taken.Code, taken.Object, taken.Message, taken.Hint)
		f.Fixed = true
		findings = append(findings, f)
	}
	if s.NoLinger != "" {
		f := finding(d, release.CodeLingerMissing, "user "+s.NoLinger, "the user's service manager, and all that it runs, ends with the last login",
			"as root on the machine: loginctl enable-linger "+s.NoLinger)
		f.Fixed = true
		findings = append(findings, f)
	}
	o, err := r.overrides(ctx, s)
	if err != nil {
		return findings, err
	}
	if len(o.Changes) > 0 {
		findings = append(findings, finding(d, release.CodeUnitOverridden, d.Object(), join(o.Changes),
			"a restart would not run the release: `systemctl revert "+d.Service+"` removes the drop-in files"))
	}
	if len(o.Limits) > 0 {
		f := finding(d, release.CodeUnitOverridden, d.Object(), join(o.Limits), "it is left as it is; host.limits in shipit.yaml can set the same")
		f.Severity = release.Warns
		findings = append(findings, f)
	}
	return findings, nil
}

// space checks the file system of the releases, and what is mounted there.
func (r runner) space(ctx context.Context, d service.Definition, n needs) ([]release.Finding, error) {
	found, err := r.store(d).Space(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	findings := spaceFindings(d, found)
	if !found.Unpacked {
		findings = append(findings, r.platform(ctx, d, n)...)
	}
	return findings, nil
}

// registryLimit is how long a registry may take to say what an image is for.
const registryLimit = 5 * time.Second

// platform checks that an image that is to be unpacked has the platform of the machine.
// If the registry does not say it, unpacking does.
func (r runner) platform(ctx context.Context, d service.Definition, n needs) []release.Finding {
	if n.platforms == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, registryLimit)
	defer cancel()
	built, err := n.platforms(ctx, n.image)
	if err != nil || slices.ContainsFunc(built, func(h string) bool { return h == r.Platform || strings.HasPrefix(h, r.Platform+"/") }) {
		return nil
	}
	return []release.Finding{finding(d, release.CodeNoMatchingPlatform, d.Object(),
		fmt.Sprintf("the image is for %s and %s is %s", strings.Join(built, ", "), r.Name, r.Platform), "add "+r.Platform+" to images.<name>.platforms")}
}

// spareKiB must be free for a release that is to be unpacked, unitKiB for one that is
// unpacked already.
const (
	spareKiB = 64 << 10
	unitKiB  = 1 << 10
)

func spaceFindings(d service.Definition, found content.Space) []release.Finding {
	var findings []release.Finding
	if found.Unwritable != "" {
		findings = append(findings, unwritable(d, found.Unwritable))
	}
	need := int64(spareKiB)
	if found.Unpacked {
		need = unitKiB
	}
	if at := found.FileSystem; at.Device != "" && at.FreeKiB < need {
		findings = append(findings, finding(d, release.CodeDiskSpace, at.Mount,
			fmt.Sprintf("file system %s has %d MiB free, %d are needed", at.Device, at.FreeKiB>>10, need>>10),
			"make room there, or keep fewer releases with host.keep"))
	}
	for _, mount := range found.Mounts {
		f := finding(d, release.CodeMountInside, mount, "something is mounted there, where shipit would replace or remove a folder",
			"unmount it: what is mounted there is not shipit's to remove")
		f.Fixed = true
		findings = append(findings, f)
	}
	return findings
}

func unwritable(d service.Definition, folder string) release.Finding {
	return finding(d, release.CodeHostPermission, folder, "may not be written to by the user that shipit comes as",
		"connect as root for the system domain, or use host.domain user with a root and a unitDir of that user")
}

// unitScript inspects the folder of the unit $1, the user $2 and the environment
// file $3.
const unitScript = `p=$1
while [ ! -e "$p" ]; do p=$(dirname "$p"); done
[ -d "$p" ] && [ -w "$p" ] && [ -x "$p" ] || printf '%s\n' "Unwritable=$p"
if [ -n "$2" ] && ! id -u "$2" >/dev/null 2>&1; then echo NoUser=yes; fi
if [ -n "$3" ]; then
  if [ ! -f "$3" ]; then echo NoEnvFile=yes; else printf '%s\n' "Mode=$(ls -ldn "$3" | cut -c 1-10)"; fi
fi
exit 0`

// unit checks the folder of the unit, and the user and the environment file that it
// names.
func (r runner) unit(ctx context.Context, d service.Definition, _ needs) ([]release.Finding, error) {
	folder := path.Dir(d.UnitFile(r.Home))
	res, err := r.Read(ctx, machine.Script(unitScript, folder, d.User, d.EnvFile))
	if err != nil {
		return nil, fmt.Errorf("inspect %s on %s: %w", folder, r.Name, err)
	}
	return unitFindings(d, res.Stdout), nil
}

func unitFindings(d service.Definition, out string) []release.Finding {
	var findings []release.Finding
	for _, line := range machine.Lines(out) {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "Unwritable":
			findings = append(findings, unwritable(d, value))
		case "NoUser":
			findings = append(findings, finding(d, release.CodeUserMissing, d.User, "no such user on the machine", "create it, or change host.user"))
		case "NoEnvFile":
			findings = append(findings, finding(d, release.CodeEnvFileMissing, d.EnvFile, "the environment file is not there",
				"put it on the machine, readable by its owner only; shipit never carries secrets"))
		case "Mode":
			if len(value) == 10 && value[7] == 'r' {
				f := finding(d, release.CodeEnvFileOpen, d.EnvFile, "every user of the machine can read the secrets in it", "chmod 600 "+machine.Quote(d.EnvFile))
				f.Severity = release.Warns
				findings = append(findings, f)
			}
		}
	}
	return findings
}
