package pipeline

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/release"
)

// batch is one run of an image's commands, and the platforms that its result is for.
type batch struct {
	in       Inputs // with the commands as they are for these platforms
	names    []string
	on       string // os/arch on which the commands run
	untested bool   // the image has tests, and they do not run in the result
}

// aim is what an install is told of the platform that it is for. nil says nothing, so
// that it is for the machine on which it runs.
type aim struct {
	manager string // pnpm, bun or npm
	name    string // os/arch, for messages
	on      string // os/arch on which it runs
	// only is the platform whose packages are installed; nil for packages that are the
	// same for all.
	only *lockfile.Platform
	// scriptless says that the commands themselves let no script run, on any platform.
	scriptless bool
}

// foreign reports whether what is installed is not for the machine on which the install
// runs: scripts of packages, which make things for that machine, cannot run then.
func (a *aim) foreign() bool { return a != nil && a.name != a.on }

// installer is the package manager of a command that installs packages; "" if the
// command is none.
func installer(args []string) string {
	if len(args) > 1 && path.Base(args[0]) == "corepack" {
		args = args[1:]
	}
	name := path.Base(args[0])
	words := map[string][]string{"pnpm": {"install", "i"}, "bun": {"install", "i"}, "npm": {"install", "i", "ci", "clean-install"}}[name]
	for _, arg := range args[1:] {
		switch {
		case slices.Contains(words, arg):
			return name
		case slices.Contains([]string{"run", "exec", "dlx", "x", "create"}, arg): // what follows is another program's
			return ""
		}
	}
	return ""
}

// manager is the package manager by which the image's commands install; "" if none does.
func (in Inputs) manager() string {
	for _, args := range in.Image.Run {
		if name := installer(args); name != "" {
			return name
		}
	}
	return ""
}

// batches divides the platforms of an image into runs of its commands. on is the
// platform on which commands run. Packages are installed for each platform in a run of
// its own, unless all of them are for every platform.
func batches(ctx context.Context, in Inputs, list []platform, on string, opts Options) ([]batch, error) {
	var names []string
	for _, p := range list {
		names = append(names, p.name)
	}
	whole := []batch{{in: in, names: names, on: on}}
	manager := in.manager()
	if manager == "" {
		return whole, nil
	}
	locked, err := in.Closure.Installed()
	if err != nil {
		return nil, err
	}
	known := limitsOf(locked)
	if known.neutral {
		whole[0].in = in.aimedAt(&aim{manager: manager, name: foreignName(list, on), on: on})
		return whole, nil
	}
	var out []batch
	for _, p := range list {
		only, err := p.packages(ctx, known, opts)
		if err != nil {
			return nil, err
		}
		a := &aim{manager: manager, name: p.osArch(), on: on, only: &only}
		if !a.foreign() && (only.Libc == "" || manager == "bun") {
			a = nil
		}
		out = append(out, batch{in: in.aimedAt(a), names: []string{p.name}, on: on, untested: p.osArch() != on && len(in.Image.Test) > 0})
	}
	if len(tested(out)) == 0 {
		out[0].untested = false // what does not depend on the platform is tested all the same
	}
	for i := range out {
		if out[i].untested {
			out[i].in.Image.Test = nil
		}
	}
	return out, nil
}

// tested are the batches in which the image's tests run.
func tested(all []batch) []batch {
	return slices.DeleteFunc(slices.Clone(all), func(b batch) bool { return b.untested })
}

// eachBatch calls build with one batch after the other, and says for which platforms. All
// that is refused of them comes at once.
func eachBatch(all []batch, opts Options, build func(batch) error) error {
	var refused refusals
	for _, b := range all {
		name := strings.Join(b.names, " and ")
		if len(all) > 1 && b.untested {
			opts.report(release.MarkNote, "%s is built on %s, so its tests do not run", name, b.on)
		}
		err := build(b)
		if len(all) > 1 && err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		if err != nil && !refused.take(err) {
			return err
		}
	}
	return refused.err()
}

// foreignName is a platform of the list that is not on; on itself if there is none.
func foreignName(list []platform, on string) string {
	for _, p := range list {
		if p.osArch() != on {
			return p.osArch()
		}
	}
	return on
}

// aimedAt are the inputs whose installs are for the platform of a.
func (in Inputs) aimedAt(a *aim) Inputs {
	if a == nil || a.only == nil && !a.foreign() {
		return in
	}
	in.aim, a.scriptless = a, true
	run := make([][]string, 0, len(in.Image.Run))
	for _, args := range in.Image.Run {
		if installer(args) != "" {
			a.scriptless = a.scriptless && slices.Contains(args, ignoreScripts)
			args = a.args(args)
		}
		run = append(run, args)
	}
	in.Image.Run = run
	return in
}

// args is an install with its flags. pnpm has them only since 10.14: what it reads from
// its settings says it to every version since 8.10.
func (a *aim) args(args []string) []string {
	var flags []string
	if a.only != nil && a.manager != "pnpm" {
		flags = append(flags, "--os="+a.only.OS, "--cpu="+a.only.CPU)
		if a.only.Libc != "" && a.manager == "npm" {
			flags = append(flags, "--libc="+a.only.Libc)
		}
	}
	if a.foreign() && !slices.Contains(args, ignoreScripts) {
		flags = append(flags, ignoreScripts)
	}
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	return slices.Insert(slices.Clone(args), end, flags...)
}

// ignoreScripts is the flag of all package managers by which no script runs.
const ignoreScripts = "--ignore-scripts"

// limits is what a lockfile says of platforms.
type limits struct {
	neutral bool // every package is for every platform
	libc    bool // some are for one C library only
}

// limitsOf is what the packages of a lockfile say; nothing is known of nil.
func limitsOf(locked map[string]lockfile.Package) limits {
	out := limits{neutral: locked != nil}
	for _, p := range locked {
		out.neutral = out.neutral && p.Limits.Any()
		out.libc = out.libc || len(p.Limits.Libc) > 0
	}
	return out
}

// osArch is the platform without its variant.
func (p platform) osArch() string { return p.spec.OS + "/" + p.spec.Architecture }

// packages is the platform in the words of package managers. Its C library is that of
// the base, if any package depends on it.
func (p platform) packages(ctx context.Context, known limits, opts Options) (lockfile.Platform, error) {
	out := lockfile.PlatformOf(p.spec.OS, p.spec.Architecture)
	if !known.libc || p.spec.OS != "linux" {
		return out, nil
	}
	var err error
	out.Libc, err = libcOf(ctx, p.base, opts)
	return out, err
}

// machine is the platform of this machine.
func machine() string { return runtime.GOOS + "/" + runtime.GOARCH }
