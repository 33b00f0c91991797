package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/joelhooks/shipit/release"
)

// needs is what a role wants of a machine beyond its definition.
type needs struct {
	runtime map[string]string // program → semver range that its --version must satisfy
	bytes   int64             // room that the content takes; 0: unknown
	others  []string          // services of the release's other roles
}

// preflight says what would keep the role from running on the machine: the
// runtime's version, the port, room, rights, the service manager, drop-in files
// that change the unit. It changes nothing. An error means that the machine
// could not be asked.
func (m *machine) preflight(ctx context.Context, role release.Role, n needs) ([]release.Finding, error) {
	d, err := define(role)
	if err != nil {
		return nil, err
	}
	f, err := m.managed(ctx, d)
	if err != nil {
		return nil, err
	}
	if f.Code != "" {
		return []release.Finding{f}, nil
	}
	var findings []release.Finding
	for _, check := range []func(context.Context, definition, needs) ([]release.Finding, error){m.service, m.folders, m.runtimes} {
		found, err := check(ctx, d, n)
		if err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func finding(d definition, code release.Code, object, message, hint string) release.Finding {
	return release.Finding{Code: code, Severity: release.Refuses, Role: d.Role, Object: object, Message: message, Hint: hint}
}

// managed asks the service manager for a sign of life; the zero value: it gave
// one.
func (m *machine) managed(ctx context.Context, d definition) (release.Finding, error) {
	_, err := m.read(ctx, m.supervisor(d).check(d))
	var lost *lostError
	switch {
	case err == nil:
		return release.Finding{}, nil
	case errors.As(err, &lost) || ctx.Err() != nil:
		return release.Finding{}, err
	}
	f := finding(d, release.CodeServiceManager, d.Kind+" "+d.Domain, "does not answer on "+m.name+": "+oneLine(err.Error()),
		"check host.manager and host.domain in shipit.yaml against the machine")
	f.Fixed = true
	return f, nil
}

// service checks the port and the drop-in files.
func (m *machine) service(ctx context.Context, d definition, n needs) ([]release.Finding, error) {
	s, err := m.inspect(ctx, d)
	if err != nil {
		return nil, err
	}
	var findings []release.Finding
	if h := s.foreign(); h != nil && s.predecessor(n.others) == "" {
		taken := portTaken(d, *h)
		f := finding(d, taken.Code, taken.Object, taken.Message, taken.Hint)
		f.Fixed = true
		findings = append(findings, f)
	}
	if s.mortal != "" {
		f := finding(d, release.CodeLingerMissing, "user "+s.mortal, "the user's service manager, and all that it runs, ends with the last login",
			"as root on the machine: loginctl enable-linger "+s.mortal)
		f.Fixed = true
		findings = append(findings, f)
	}
	o, err := m.overrides(ctx, s)
	if err != nil {
		return findings, err
	}
	if len(o.changes) > 0 {
		findings = append(findings, finding(d, release.CodeUnitOverridden, d.object(), join(o.changes),
			"a restart would not run the release: `systemctl revert "+d.Service+"` removes the drop-in files"))
	}
	if len(o.limits) > 0 {
		f := finding(d, release.CodeUnitOverridden, d.object(), join(o.limits), "it is let be; host.limits can say the same")
		f.Severity = release.Warns
		findings = append(findings, f)
	}
	return findings, nil
}

// foldersScript inspects the folders of root $1 and of unit $2, the user $3, the
// environment file $4, the release directory $5 and the staging directory $6.
const foldersScript = mountScript + `above() { p=$1; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; }
if [ -f "$5/.shipit/manifest" ]; then echo Unpacked=yes; fi
above "$1"; [ -d "$p" ] && [ -w "$p" ] && [ -x "$p" ] || printf '%s\n' "NoWrite=$p"
printf '%s\n' "Disk=$(df -Pk "$p" | tail -n 1)"
above "$2"; [ -d "$p" ] && [ -w "$p" ] && [ -x "$p" ] || printf '%s\n' "NoWrite=$p"
if [ -n "$3" ] && ! id -u "$3" >/dev/null 2>&1; then echo NoUser=yes; fi
if [ -n "$4" ]; then
  if [ ! -f "$4" ]; then echo NoEnvFile=yes; else printf '%s\n' "Mode=$(ls -ldn "$4" | cut -c 1-10)"; fi
fi
mounts "$5" | sed 's/^/Mount=/'
staging=$(cd "$6" 2>/dev/null && pwd -P)
mounts "$6" | STAGING=$staging awk '$0 != ENVIRON["STAGING"] { print "Mount=" $0 }'
exit 0`

// folders checks rights, room, user and environment file.
func (m *machine) folders(ctx context.Context, d definition, n needs) ([]release.Finding, error) {
	res, err := m.read(ctx, script(foldersScript, d.Root, path.Dir(d.unitFile(m.home)), d.User, d.EnvFile,
		d.releaseDir(), path.Join(d.Root, "staging")))
	if err != nil {
		return nil, fmt.Errorf("inspect %s on %s: %w", d.Root, m.name, err)
	}
	return folderFindings(d, n, res.Stdout), nil
}

// spareKiB is kept free beyond what the content takes; unitKiB is what a release
// takes that is unpacked already.
const (
	spareKiB = 64 << 10
	unitKiB  = 1 << 10
)

func folderFindings(d definition, n needs, out string) []release.Finding {
	var findings []release.Finding
	unpacked := false
	for _, line := range lines(out) {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "NoWrite":
			findings = append(findings, finding(d, release.CodeHostPermission, value, "may not be written to by the user that shipit comes as",
				"connect as root for the system domain, or use host.domain user with a root and a unitDir of that user"))
		case "Unpacked":
			unpacked = true
		case "Disk":
			at := parseDisk(value)
			need := n.bytes>>10 + spareKiB
			if unpacked {
				need = unitKiB
			}
			if at.device != "" && at.free < need {
				findings = append(findings, finding(d, release.CodeDiskSpace, at.mount,
					fmt.Sprintf("file system %s has %d MiB free, %d are needed", at.device, at.free>>10, need>>10),
					"make room there, or keep fewer releases with host.keep"))
			}
		case "Mount":
			f := finding(d, release.CodeMountInside, value, "something is mounted there, where shipit would replace or remove a folder",
				"unmount it: what is mounted there is not shipit's to remove")
			f.Fixed = true
			findings = append(findings, f)
		case "NoUser":
			findings = append(findings, finding(d, release.CodeUserMissing, d.User, "no such user on the machine", "create it, or change host.user"))
		case "NoEnvFile":
			findings = append(findings, finding(d, release.CodeEnvFileMissing, d.EnvFile, "the environment file is not there",
				"put it on the machine, readable by its owner only; shipit never carries secrets"))
		case "Mode":
			if len(value) == 10 && value[7] == 'r' {
				f := finding(d, release.CodeEnvFileOpen, d.EnvFile, "every user of the machine can read the secrets in it", "chmod 600 "+quote(d.EnvFile))
				f.Severity = release.Warns
				findings = append(findings, f)
			}
		}
	}
	return findings
}

// runtimeScript asks the program $2, found in PATH $1, for its version.
const runtimeScript = `PATH=$1 where=$(PATH=$1 command -v "$2") || exit 64
printf '%s\n' "$where"
"$where" --version </dev/null 2>&1`

// runtimes holds the version of each program, as the service would find it,
// against its range.
func (m *machine) runtimes(ctx context.Context, d definition, n needs) ([]release.Finding, error) {
	var findings []release.Finding
	for _, program := range slices.Sorted(maps.Keys(n.runtime)) {
		cmd := script(runtimeScript, d.searchPath(), program)
		cmd.Tolerate = []int{exitAbsent}
		res, err := m.read(ctx, cmd)
		var f release.Finding
		switch {
		case err != nil && !isExit(err):
			return findings, fmt.Errorf("ask for the version of %s: %w", program, err)
		case err != nil:
			f = finding(d, release.CodeRuntimeVersion, program, "does not tell its version: "+oneLine(err.Error()), "")
		case res.Exit == exitAbsent:
			f = finding(d, release.CodeRuntimeMissing, program, "is not on "+m.name+" in PATH "+d.searchPath(),
				"install it, or name its folder in the role's env.PATH")
		default:
			f = versionFinding(d, program, n.runtime[program], res.Stdout)
		}
		if f.Code != "" {
			findings = append(findings, f)
		}
	}
	return findings, nil
}

var versionRule = regexp.MustCompile(`\d+\.\d+(?:\.\d+)?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?`)

// versionFinding reads what runtimeScript printed: the path, then whatever the
// program says, in which the first version counts. The zero value: satisfied.
func versionFinding(d definition, program, wanted, out string) release.Finding {
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%q is no semver range", wanted), "such as ^1.3 or >=1.3.9 <2")
	}
	where, said, _ := strings.Cut(out, "\n")
	version, err := semver.NewVersion(versionRule.FindString(said))
	if err != nil {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%s --version says %q, which holds no version", where, oneLine(said)), "")
	}
	if !constraint.Check(version) {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%s is %s, the role needs %s", where, version, wanted),
			"install a fitting version, or change host.runtime")
	}
	return release.Finding{}
}

// searchPath is where the service finds its programs.
func (d definition) searchPath() string {
	switch {
	case d.Env["PATH"] != "":
		return d.Env["PATH"]
	case d.Kind == "launchd":
		return "/usr/bin:/bin:/usr/sbin:/sbin"
	default:
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
}
