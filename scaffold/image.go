package scaffold

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/pattern"
)

func (a *author) image(i *image) {
	a.line(1, scalar(i.name), "", "")
	a.registry(i)
	a.line(2, "package", scalar(i.member.dir), "deployed by "+i.why)
	command, from := i.command()
	a.base(i, command)
	a.platforms(i)
	a.install(i)
	if len(command) == 0 {
		a.askAlone(2, "entrypoint: [bun, --no-install, run, src/index.ts], the command that starts it in "+i.member.dir)
	} else {
		a.line(2, "entrypoint", list(command), from)
	}
	if user := i.user(); user != "" && user != "1000:1000" {
		a.line(2, "user", user, place(i.roles[0].workload.file, 0))
	}
	a.variables(2, "env", i.docker.file, i.env())
}

// registry writes where the image is pushed.
func (a *author) registry(i *image) {
	beside, from := "ghcr.io/"+strings.ToLower(a.owner), "after the remote origin"
	for _, other := range a.images {
		if strings.Contains(other.repository.text, "/") {
			beside, from = path.Dir(canonical(other.repository.text)), "beside "+other.name
			break
		}
	}
	unknown := beside == "ghcr.io/"
	if unknown {
		beside = "ghcr.io/owner"
	}
	switch {
	case strings.Contains(i.repository.text, "/"):
		a.line(2, "repository", canonical(i.repository.text), i.from)
	case i.repository.text != "":
		a.ask(2, "repository", beside+"/"+i.name,
			"the registry; "+i.from+" runs "+i.repository.text+", which names none: write the same repository there")
	case unknown:
		a.ask(2, "repository", beside+"/"+i.name, "where to push it")
	default:
		a.line(2, "repository", beside+"/"+i.name, from)
	}
}

// onHostsOnly reports whether machines bring the runtime of every role.
func (i *image) onHostsOnly() bool {
	return !slices.ContainsFunc(i.roles, func(r *role) bool { return r.service == nil })
}

// base writes the base image, and the one in which the commands run.
func (a *author) base(i *image, command []string) {
	d := i.docker
	placeholder := func(ref string) string { return canonical(ref) + "@" + config.PlaceholderDigest }
	switch ref := d.base.text; {
	case i.onHostsOnly():
		a.line(2, "base", "scratch", "its roles run on machines, which bring the runtime")
	case ref == "" && len(command) > 0 && path.Base(command[0]) == "node":
		a.ask(2, "base", placeholder("node:22-bookworm-slim"), "the base image, with the digest of the version that you run")
	case ref == "":
		a.ask(2, "base", placeholder("oven/bun"), "the base image, with the digest of the version that you run")
	case ref == "scratch":
		a.line(2, "base", ref, place(d.file, d.base.line))
	case d.system.text != "":
		a.ask(2, "base", cmp.Or(a.pinned(ref), placeholder(ref)),
			place(d.file, d.system.line)+" adds to it ("+firstWords(d.system.text)+"): push an image that has this, and name it here by digest")
	case a.pinned(ref) == "":
		a.ask(2, "base", placeholder(ref), "the digest, by crane digest "+canonical(ref)+" ("+place(d.file, d.base.line)+")")
	default:
		a.line(2, "base", a.pinned(ref), place(d.file, d.base.line))
	}
}

// platforms writes what the image is built for, if Macs run it. Which architecture a
// node has is not in a repository: the nodes beside a Mac have the Mac's, and a release
// refuses others before it changes anything.
func (a *author) platforms(i *image) {
	mac := slices.IndexFunc(i.roles, func(r *role) bool { return r.service != nil && r.service.manager == "launchd" })
	if mac < 0 {
		return
	}
	linux := slices.ContainsFunc(i.roles, func(r *role) bool { return r.service == nil || r.service.manager != "launchd" })
	value := "[darwin/arm64]"
	if linux {
		value = "[linux/arm64, darwin/arm64]"
	}
	a.line(2, "platforms", value, i.roles[mac].service.file+": Macs run it")
}

// install writes the commands that install and build.
func (a *author) install(i *image) {
	needs := a.hasDependencies(i.member)
	install := a.manager.install(i.member, true)
	switch {
	case !needs && len(i.docker.builds) == 0:
		return
	case install == nil:
		a.askAlone(2, "run: the command that installs what it needs from the lockfile, and nothing for development")
		return
	}
	a.line(2, "run", "", a.manager.name+" by "+a.manager.from)
	run := func(command []string, from string) {
		if i.docker.ignoreScripts && len(command) > 1 && (command[1] == "install" || command[1] == "ci") {
			command = append(slices.Clone(command), "--ignore-scripts")
		}
		a.WriteString("      - " + list(command) + from + "\n")
	}
	if len(i.docker.builds) > 0 {
		run(a.manager.install(i.member, false), "  # the build may need what is for development; it goes afterwards")
	}
	for _, build := range i.docker.builds {
		run(build, "  # "+i.docker.file)
	}
	run(install, "")
	if d := a.toolchainOf(i); d.toolchain.text != "" && (d.toolchain.text != d.base.text || i.onHostsOnly()) {
		if pinned := a.pinned(d.toolchain.text); pinned != "" {
			a.line(2, "toolchain", pinned, place(d.file, d.toolchain.line)+", where Dagger runs the commands")
		} else {
			a.note(2, "toolchain: %s@sha256:…, where Dagger would run them (%s)", canonical(d.toolchain.text), place(d.file, d.toolchain.line))
		}
	}
}

// toolchainOf is the Dockerfile in which an image's packages are installed: its own, or
// for one that has none the first of the others, as its base has no package manager.
func (a *author) toolchainOf(i *image) dockerfile {
	for _, other := range a.images {
		if i.docker.file == "" && other.docker.toolchain.text != "" {
			return other.docker
		}
	}
	return i.docker
}

// hasDependencies reports whether a package, or one of the workspace that it needs,
// depends on something outside of the workspace.
func (a *author) hasDependencies(m member) bool {
	seen := map[string]bool{}
	var needs func(m member) bool
	needs = func(m member) bool {
		if seen[m.dir] {
			return false
		}
		seen[m.dir] = true
		var pkg struct {
			Dependencies map[string]string `json:"dependencies"`
		}
		a.files.json(path.Join(m.dir, "package.json"), &pkg)
		for name := range pkg.Dependencies {
			at := slices.IndexFunc(a.members, func(o member) bool { return o.name == name })
			if at < 0 || needs(a.members[at]) {
				return true
			}
		}
		return false
	}
	return needs(m)
}

// command is what starts the image, and where that was found.
func (i *image) command() ([]string, string) {
	start := path.Join(i.member.dir, "package.json") + ": start"
	switch c := i.docker.command; {
	case len(c) > 0 && !(runsStart(c) && len(i.member.start) > 0):
		return noInstall(c), place(i.docker.file, i.docker.commandLine)
	case len(i.member.start) > 0:
		return noInstall(i.member.start), start
	}
	for _, r := range i.roles {
		if r.service == nil {
			continue
		}
		if file := script(r.service.program); file != "" {
			_, inside, ok := strings.Cut(file, i.member.dir+"/")
			if !ok {
				inside = file
			}
			command := slices.Clone(r.service.program)
			command[slices.Index(command, file)] = inside
			command[0] = path.Base(command[0])
			return noInstall(command), r.service.file
		}
	}
	return nil, ""
}

// runsStart reports whether a command runs the start script of the package.
func runsStart(command []string) bool {
	return slices.Contains([]string{"npm", "pnpm", "yarn", "bun"}, command[0]) && command[len(command)-1] == "start"
}

// noInstall adds the flag that keeps bun from installing packages at run time.
func noInstall(start []string) []string {
	switch start = slices.Clone(start); {
	case len(start) == 3 && start[1] == "-c":
		start[2] = bunRule().ReplaceAllString(start[2], "bun --no-install run ")
	case len(start) > 0 && start[0] == "bun" && !slices.Contains(start, "--no-install"):
		return slices.Insert(start, 1, "--no-install")
	}
	return start
}

var bunRule = pattern.Lazy(`\bbun run `)

// user is the user that a manifest runs the image as; "" if none says one.
func (i *image) user() string {
	for _, r := range i.roles {
		if r.workload != nil {
			return r.workload.user(r.container)
		}
	}
	return ""
}

// env are the variables of the Dockerfile, but for those that differ by role and those
// that only the build needs.
func (i *image) env() []setting {
	return slices.DeleteFunc(slices.Clone(i.docker.env), func(v setting) bool {
		return roleVariable().MatchString(v.name) || v.name == "PATH" || strings.HasSuffix(v.name, "_HOME") || strings.Contains(v.value, "$")
	})
}

// firstWords shortens a command.
func firstWords(s string) string {
	words := strings.Fields(s)
	if len(words) > 4 {
		return strings.Join(words[:4], " ") + " …"
	}
	return strings.Join(words, " ")
}
