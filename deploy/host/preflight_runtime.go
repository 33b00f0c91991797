package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// exitAbsent is how runtimeScript says that there is no such program.
const exitAbsent = 64

// runtimeScript asks the program $2, found in PATH $1, for its version.
const runtimeScript = `PATH=$1 where=$(PATH=$1 command -v "$2") || exit 64
printf '%s\n' "$where"
"$where" --version </dev/null 2>&1`

// runtimes compares the version of each program, as the service would find it, with its
// range.
func (r runner) runtimes(ctx context.Context, d service.Definition, n needs) ([]release.Finding, error) {
	var findings []release.Finding
	for _, program := range slices.Sorted(maps.Keys(n.runtime)) {
		cmd := machine.Script(runtimeScript, searchPath(d), program)
		cmd.AllowExitCodes = []int{exitAbsent}
		res, err := r.Read(ctx, cmd)
		var f release.Finding
		switch {
		case err != nil && !machine.IsExit(err):
			return findings, fmt.Errorf("ask for the version of %s: %w", program, err)
		case err != nil:
			f = finding(d, release.CodeRuntimeVersion, program, "does not print its version: "+machine.Excerpt(err.Error()), "")
		case res.Exit == exitAbsent:
			f = finding(d, release.CodeRuntimeMissing, program, "is not on "+r.Name+" in PATH "+searchPath(d),
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

var versionRule = pattern.Lazy(`\d+\.\d+(?:\.\d+)?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?`)

// versionFinding reads what runtimeScript printed: the path, then whatever the
// program says, in which the first version counts. The zero value: satisfied.
func versionFinding(d service.Definition, program, wanted, out string) release.Finding {
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%q is no semver range", wanted), "such as ^1.3 or >=1.3.9 <2")
	}
	where, said, _ := strings.Cut(out, "\n")
	version, err := semver.NewVersion(versionRule().FindString(said))
	if err != nil {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%s --version says %q, in which there is no version", where, machine.Excerpt(said)), "")
	}
	if !constraint.Check(version) {
		return finding(d, release.CodeRuntimeVersion, program, fmt.Sprintf("%s is %s, the role needs %s", where, version, wanted),
			"install a version in that range, or change host.runtime")
	}
	return release.Finding{}
}

// searchPath is where the service finds its programs.
func searchPath(d service.Definition) string {
	switch {
	case d.Env["PATH"] != "":
		return d.Env["PATH"]
	case d.Kind == "launchd":
		return "/usr/bin:/bin:/usr/sbin:/sbin"
	default:
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
}
