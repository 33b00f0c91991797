package scaffold

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"
)

// digestTime is how long registries are asked for digests, all together.
const digestTime = 10 * time.Second

// schema lets editors complete and check the file.
const schema = "https://raw.githubusercontent.com/joelhooks/shipit/main/shipit.schema.json"

// author writes the configuration of a discovery.
type author struct {
	*discovery
	page
	digests map[string]string // by reference; "" if no registry answered
	lookUp  func(ref string) string
}

func (d *discovery) write(ctx context.Context, o Options) Draft {
	ctx, cancel := context.WithTimeout(ctx, digestTime)
	defer cancel()
	a := &author{discovery: d, digests: map[string]string{}}
	a.lookUp = func(ref string) string {
		if o.Digest == nil {
			return ""
		}
		digest, err := o.Digest(ctx, ref)
		if err != nil {
			return ""
		}
		return digest
	}
	app, from := a.appName()
	a.note(0, "yaml-language-server: $schema=%s", schema)
	a.note(0, "Written by shipit init; the comments say where each value was found. A line with TODO asks for")
	a.note(0, "what the repository does not say: answer it and delete the comment. shipit check lists them.")
	a.line(0, "app", scalar(app), from)
	if d.owner != "" {
		a.line(0, "source", "https://github.com/"+d.owner+"/"+d.repository, "the remote origin")
	}
	a.line(0, "images", "", "")
	for _, i := range d.images {
		a.image(i)
	}
	a.line(0, "roles", "", "in the order in which they are switched")
	draft := Draft{App: app}
	for _, i := range d.images {
		for _, r := range i.roles {
			a.role(r)
			draft.Roles = append(draft.Roles, r.name)
		}
	}
	a.functions()
	a.check()
	draft.YAML, draft.Todos, draft.LeftOut = a.String(), a.todos, d.leftOut()
	return draft
}

// appName names the app after the root package, the remote or its first image.
func (a *author) appName() (name, from string) {
	var root packageJSON
	switch {
	case a.files.json("package.json", &root) && root.Name != "":
		return slug(path.Base(root.Name)), "package.json"
	case a.repository != "":
		return slug(a.repository), "the remote origin"
	default:
		return a.images[0].name, ""
	}
}

// leftOut are the packages that nothing deploys.
func (d *discovery) leftOut() []string {
	var left []string
	for _, m := range d.members {
		if d.imageOf(m) == nil {
			left = append(left, m.dir)
		}
	}
	return left
}

// functions writes who owns which function, where roles have lists of them.
func (a *author) functions() {
	for _, i := range a.images {
		var roles []string
		for _, r := range i.roles {
			if r.variable.value != "" && !slices.Contains(roles, r.variable.value) {
				roles = append(roles, r.variable.value)
			}
		}
		lists := functionLists(a.files, i.member.dir, roles)
		if len(lists) == 0 {
			continue
		}
		a.line(0, "functions", "", "")
		a.line(1, "lists", "", "the functions of the roles "+strings.Join(roles, " and "))
		for _, file := range lists {
			a.WriteString("    - " + scalar(file) + "\n")
		}
		if ids, from := sharedFunctions(a.files, i.member.dir, lists); len(ids) > 0 {
			a.line(1, "allowDuplicates", list(ids), from)
		}
		return // the setting is the app's: one image has roles with lists
	}
}

// check writes what must not be in the tree, and which workflow ships.
func (a *author) check() {
	forbidden, ships := bans(a.files), shippingWorkflow(a.files)
	if len(forbidden) == 0 && ships.file == "" {
		return
	}
	when := "on every push"
	if len(ships.paths) > 0 {
		when = "on a change of " + strings.Join(ships.paths, ", ")
	}
	if ships.file != "" && !ships.calls && len(forbidden) == 0 {
		a.askAlone(0, "check: {workflow: the one that calls shipit}; "+ships.file+" ships today, "+when)
		return
	}
	a.line(0, "check", "", "")
	switch {
	case ships.calls:
		a.line(1, "workflow", scalar(ships.file), "it runs "+when)
	case ships.file != "":
		a.askAlone(1, "workflow: the one that calls shipit; "+ships.file+" ships today, "+when)
	}
	if len(forbidden) == 0 {
		return
	}
	a.line(1, "forbid", "", "")
	for _, b := range forbidden {
		a.WriteString("    - pattern: " + scalar(b.text) + "  # " + b.from + "\n")
		a.WriteString("      allow:\n")
		for _, glob := range b.allow {
			a.WriteString("        - " + scalar(glob) + "\n")
		}
	}
}

// pinned is an image by digest: as it is written, or as its registry says; "" if
// neither knows.
func (a *author) pinned(ref string) string {
	if strings.Contains(ref, "@sha256:") {
		return canonical(ref)
	}
	ref = canonical(ref)
	digest, asked := a.digests[ref]
	if !asked {
		digest = a.lookUp(ref)
		a.digests[ref] = digest
	}
	if digest == "" {
		return ""
	}
	return ref + "@" + digest
}

// canonical is a reference with its registry: oven/bun is docker.io/oven/bun.
func canonical(ref string) string {
	first, _, several := strings.Cut(ref, "/")
	switch {
	case !several:
		return "docker.io/library/" + ref
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + ref
	default:
		return ref
	}
}
