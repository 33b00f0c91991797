package scaffold

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// builder is a workflow or script that builds the Dockerfile of one package.
type builder struct {
	file   string
	text   string
	member member
}

var dockerfileRule = pattern.Lazy(`([\w.-]+(?:/[\w.-]+)*)/Dockerfile\b`)

// builders are the workflows and scripts that build exactly one package's Dockerfile.
func (d *discovery) builders() []builder {
	var found []builder
	for _, at := range append(d.files.below(".github/workflows"), d.files.named(".sh")...) {
		text := d.files.text(at)
		var of []member
		for _, m := range d.members {
			if slices.ContainsFunc(dockerfileRule().FindAllStringSubmatch(text, -1), func(s []string) bool { return s[1] == m.dir || strings.HasSuffix(s[1], "/"+m.dir) }) {
				of = append(of, m)
			}
		}
		if len(of) == 1 {
			found = append(found, builder{at, text, of[0]})
		}
	}
	return found
}

// makes reports whether the workflow or script pushes an image of that repository: it
// names all of it, or its last part as that of an image.
func (b builder) makes(repository string) bool {
	named := regexp.MustCompile(`(?im)(image|tag|repo)\w*["']?\s*[:=].*(^|[^\w-])` + regexp.QuoteMeta(path.Base(repository)) + `($|[^\w-])`)
	return strings.Contains(repository, "/") && (strings.Contains(b.text, repository) || named.MatchString(b.text))
}

// memberOf is the package that an image is built from, and what says so: a workflow
// or script that builds it, or that its name is the package's.
func (d *discovery) memberOf(repository string, built []builder) (member, string, bool) {
	for _, b := range built {
		if b.makes(repository) {
			return b.member, b.file, true
		}
	}
	for _, m := range d.members {
		if m.answersTo(path.Base(repository)) && d.ours(repository, m) {
			return m, "its name", true
		}
	}
	return member{}, "", false
}

// similarTo is the package without an image whose name is the longest part of an
// image's: system-bus of system-bus-worker.
func (d *discovery) similarTo(repository string) (member, string, bool) {
	var best member
	for _, m := range d.members {
		part := strings.Contains("-"+path.Base(repository)+"-", "-"+m.id()+"-")
		i := d.imageOf(m)
		if part && d.ours(repository, m) && (best.dir == "" || len(m.id()) > len(best.id())) && (i == nil || i.repository.text == repository) {
			best = m
		}
	}
	return best, "its name", best.dir != ""
}

// ours reports whether an image may be built from a package that is named like it:
// redis:7 and restatedev/restate are not the packages redis and restate.
func (d *discovery) ours(repository string, m member) bool {
	parts := strings.Split(canonical(repository), "/")
	switch {
	case parts[0] != "docker.io":
		return true
	case parts[1] == "library":
		return m.answersTo(path.Base(repository)) && d.files.has(path.Join(m.dir, "Dockerfile"))
	default:
		return strings.EqualFold(parts[1], d.owner) || "@"+parts[1] == strings.Split(m.name, "/")[0]
	}
}

var roleVariable = pattern.Lazy(`^([A-Z0-9]+_)*ROLE$`)

// knowRoles finds the variable by which the parts of an image know their role.
func (d *discovery) knowRoles(i *image) {
	for _, r := range i.roles {
		switch {
		case r.service != nil:
			r.variable = d.variableOf(*r.service)
		case r.workload != nil:
			r.variable = lastRole(slices.Concat(i.docker.env, r.container.variables()))
		default:
			r.variable = lastRole(i.docker.env)
		}
	}
}

// variableOf is the variable by which what a service starts knows its role.
func (d *discovery) variableOf(s service) setting {
	return lastRole(slices.Concat(s.env, d.scriptVariables(s)))
}

// lastRole is the variable of an environment that names a role: the last, which counts.
func lastRole(env []setting) setting {
	var found setting
	for _, v := range env {
		if roleVariable().MatchString(v.name) && v.value != "" {
			found = v
		}
	}
	return found
}

var exportRule = pattern.Lazy(`(?m)^\s*(?:export\s+)?([A-Z][A-Z0-9_]*ROLE)=["']?([\w-]+)["']?`)

// scriptVariables are the roles that a script of the repository sets before it starts
// the program.
func (d *discovery) scriptVariables(s service) []setting {
	var list []setting
	for _, word := range s.program {
		for _, m := range exportRule().FindAllStringSubmatch(d.files.text(d.files.inTree(word)), -1) {
			list = append(list, setting{m[1], m[2]})
		}
	}
	return list
}

// name gives every image and every role a name of its own.
func (d *discovery) name() {
	taken := map[string]bool{}
	free := func(names ...string) string {
		for _, name := range names {
			if name != "" && !taken[name] {
				taken[name] = true
				return name
			}
		}
		last := names[len(names)-1]
		for n := 2; ; n++ {
			if name := last + "-" + number(int64(n)); !taken[name] {
				taken[name] = true
				return name
			}
		}
	}
	for _, i := range d.images {
		base := ""
		if i.repository.text != "" {
			base = slug(path.Base(i.repository.text))
		}
		i.name = free(base, i.member.id(), slug(i.member.dir))
	}
	clear(taken)
	for _, i := range d.images {
		for _, r := range i.roles {
			part := "cluster"
			if r.service != nil {
				part = "host"
			}
			if len(i.roles) == 1 {
				r.name = free(i.name, i.name+"-"+part)
			} else if r.variable.value != "" {
				r.name = free(slug(r.variable.value), i.name+"-"+part)
			} else {
				r.name = free(i.name+"-"+part, i.name)
			}
		}
	}
}
