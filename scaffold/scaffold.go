// Package scaffold turns a repository into the shipit.yaml that it asks for. What is
// deployed is found where the repository says so: an image of a manifest or workflow,
// a launchd job or systemd unit, a Dockerfile. What only the owner knows becomes a
// line with TODO.
package scaffold

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// Options are what the files do not say. The zero value works.
type Options struct {
	Origin string // URL of the repository's remote; "" if it has none
	// Digest asks a registry for the digest of an image; nil: none is asked.
	Digest func(ctx context.Context, ref string) (string, error)
}

// Draft is a shipit.yaml that parses, and what is to be said of it.
type Draft struct {
	YAML    string
	App     string
	Roles   []string // in the order of the file
	Todos   []string // the questions that its lines with TODO ask
	LeftOut []string // packages of the workspace that nothing deploys
}

// NothingError says that a repository holds nothing that could be deployed.
type NothingError struct{}

func (e *NothingError) Error() string {
	return "nothing here is deployed: no manifest, workflow, service or Dockerfile names a package, and no package has a start script"
}

// Read drafts the configuration of the repository whose files are in tree. If nothing
// can be deployed, the error is a *NothingError.
func Read(ctx context.Context, tree fs.FS, o Options) (Draft, error) {
	f, err := listFiles(tree)
	if err != nil {
		return Draft{}, fmt.Errorf("read the repository: %w", err)
	}
	d := discover(f, o)
	if len(d.images) == 0 {
		return Draft{}, &NothingError{}
	}
	d.name()
	return d.write(ctx, o), nil
}

var originRule = pattern.Lazy(`github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?$`)

// origin is owner and name of a remote on GitHub.
func origin(url string) (owner, name string) {
	if m := originRule().FindStringSubmatch(strings.TrimSpace(url)); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// image is one image to build, and why it is.
type image struct {
	name       string
	repository located // text "" if nothing names one
	from       string  // where the repository was found
	member     member
	why        string // what shows that the member is deployed
	docker     dockerfile
	roles      []*role
}

// role is one running part. At most one of workload and service is set.
type role struct {
	name      string
	image     *image
	workload  *workload
	container container
	more      []string // further manifests
	service   *service
	other     *service // starts the same by another manager; nil if none does
	variable  setting  // by which the program knows its role: WORKER_ROLE=cluster
}

// discovery is everything that was found.
type discovery struct {
	files   files
	manager manager
	members []member
	images  []*image

	owner, repository string // of the remote; "" if it is not on GitHub
}

// discover finds the images and roles of a repository.
func discover(f files, o Options) *discovery {
	d := &discovery{files: f, manager: managerOf(f), members: members(f)}
	d.owner, d.repository = origin(o.Origin)
	built := d.builders()
	running := workloads(f)
	// What is certain comes first, so that a likeness takes nothing from it.
	for _, w := range running {
		d.workload(w, func(repository string) (member, string, bool) { return d.memberOf(repository, built) })
	}
	for _, w := range running {
		d.workload(w, d.similarTo)
	}
	for _, s := range services(f) {
		d.service(s)
	}
	for _, m := range d.members {
		if at := path.Join(m.dir, "Dockerfile"); d.imageOf(m) == nil && f.has(at) {
			d.add(&image{member: m, why: at})
		}
	}
	if len(d.images) == 0 {
		for _, m := range d.members {
			if len(m.start) > 0 {
				d.add(&image{member: m, why: path.Join(m.dir, "package.json") + ": start"})
			}
		}
	}
	for _, i := range d.images {
		if len(i.roles) == 0 {
			i.roles = []*role{{image: i}}
		}
		if at := path.Join(i.member.dir, "Dockerfile"); f.has(at) {
			i.docker = readDockerfile(f, at)
		}
		d.knowRoles(i)
	}
	return d
}

func (d *discovery) add(i *image) *image {
	d.images = append(d.images, i)
	return i
}

func (d *discovery) imageOf(m member) *image {
	for _, i := range d.images {
		if i.member.dir == m.dir {
			return i
		}
	}
	return nil
}

// repositoryRule is what a registry can hold.
var repositoryRule = pattern.Lazy(`^[a-zA-Z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)

// workload makes roles of the containers whose images are of this repository.
// memberOf says which package an image is built from.
func (d *discovery) workload(w workload, memberOf func(repository string) (member, string, bool)) {
	for _, c := range w.pod.Containers {
		repository := w.image(c)
		m, why, ok := memberOf(repository)
		if !ok || !repositoryRule().MatchString(canonical(repository)) {
			continue
		}
		i := d.imageOf(m)
		if i != nil && i.repository.text != "" && i.repository.text != repository {
			continue
		}
		if i == nil {
			i = d.add(&image{member: m, why: why})
		}
		if i.repository.text == "" {
			i.repository, i.from = located{repository, c.Image.line}, place(w.file, c.Image.line)
		}
		at := slices.IndexFunc(i.roles, func(r *role) bool { return r.workload != nil && (r.workload.entry == w.entry || !w.runs()) })
		switch {
		case at >= 0 && i.roles[at].workload.entry != w.entry && !slices.Contains(i.roles[at].more, w.entry):
			i.roles[at].more = append(i.roles[at].more, w.entry)
		case at < 0:
			i.roles = append(i.roles, &role{image: i, workload: &w, container: c})
		}
		return // one container of a pod is the role; the others come with its manifest
	}
}

// service makes a role of a job or unit that starts a package of this repository.
func (d *discovery) service(s service) {
	last := slug(s.name[strings.LastIndex(s.name, ".")+1:])
	var i *image
	for _, one := range d.images {
		if one.repository.text != "" && path.Base(one.repository.text) == last {
			i = one
		}
	}
	if i == nil {
		m, ok := d.startedBy(s, last)
		if !ok {
			return
		}
		if i = d.imageOf(m); i == nil {
			i = d.add(&image{member: m, why: s.file})
		}
	}
	if r := d.samePart(i, s); r != nil {
		r.other = &s
		if s.manager == "systemd" { // a machine with launchd beside one with systemd is a person's
			r.service, r.other = &s, r.service
		}
		return
	}
	i.roles = append(i.roles, &role{image: i, service: &s})
}

// samePart is the role of an image that another manager than the service's starts as
// the same part; nil if there is none.
func (d *discovery) samePart(i *image, s service) *role {
	for _, r := range i.roles {
		if r.service != nil && r.other == nil && r.service.manager != s.manager && d.variableOf(*r.service) == d.variableOf(s) {
			return r
		}
	}
	return nil
}

// startedBy is the package that a service starts: by its name, its folder, or what
// its program does.
func (d *discovery) startedBy(s service, name string) (member, bool) {
	for _, m := range d.members {
		if m.answersTo(name) {
			return m, true
		}
	}
	texts := []string{s.dir + "/\n" + strings.Join(s.program, "\n")}
	for _, word := range s.program {
		if at := d.files.inTree(word); at != "" {
			texts = append(texts, d.files.text(at))
		}
	}
	for _, text := range texts {
		var found []member
		for _, m := range d.members {
			if m.dir != "." && mentions(text, m) {
				found = append(found, m)
			}
		}
		if len(found) == 1 {
			return found[0], true
		}
	}
	return member{}, false
}

// mentions reports whether a text names a folder or a package of the workspace.
func mentions(text string, m member) bool {
	return regexp.MustCompile(`(^|[/"'\s=])`+regexp.QuoteMeta(m.dir)+`(/|["'\s]|$)`).MatchString(text) ||
		m.name != "" && regexp.MustCompile(`(--filter|-F|--workspace|-w)[= ]["']?`+regexp.QuoteMeta(m.name)+`(["'\s.]|$)`).MatchString(text)
}
