package config

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/internal/pattern"
)

var (
	nameRule   = pattern.Lazy(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)
	pinnedRule = pattern.Lazy(`^[^\s@]+@sha256:[0-9a-f]{64}$`)
	repoRule   = pattern.Lazy(`^[a-zA-Z0-9.\-]+(:[0-9]+)?(/[a-z0-9]+([._\-]+[a-z0-9]+)*)+$`)
	userRule   = pattern.Lazy(`^[0-9]+(:[0-9]+)?$`)
)

// validate checks what neither the types nor the tags say.
func (p *parser) validate(c *Config, root *yaml.Node) {
	fail := func(key, msg, hint string) {
		p.fail(&Error{Line: lineOf(root, key), Key: key, Msg: msg, Hint: hint})
	}
	if !nameRule().MatchString(c.App) {
		fail("app", fmt.Sprintf("%q must be lower-case letters, digits and dashes, at most 40", c.App), "it names objects in the cluster")
	}
	if len(c.Images) == 0 {
		fail("images", "names no image", "")
	}
	if len(c.Roles) == 0 {
		fail("roles", "names no role", "")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Images)) {
		validateImage("images."+name, c.Images[name], fail)
	}
	for _, role := range c.Roles {
		validateRole("roles."+role.Name, role, c, fail)
	}
	validateSigning(c.Signing, fail)
	validateNotify(c.Notify, fail)
	for i, f := range c.Check.Forbid {
		if _, err := regexp.Compile(f.Pattern); err != nil {
			fail(fmt.Sprintf("check.forbid[%d].pattern", i), fmt.Sprintf("%q is no regular expression", f.Pattern), "")
		}
	}
}

type failFunc func(key, msg, hint string)

func validateImage(key string, i Image, fail failFunc) {
	host, path, _ := strings.Cut(i.Repository, "/")
	if lower := host + "/" + strings.ToLower(path); lower != i.Repository && repoRule().MatchString(lower) {
		fail(key+".repository", fmt.Sprintf("%q has capital letters, which no registry takes", i.Repository), "write "+lower+"; GHCR lower-cases the owner's name too")
	} else if !repoRule().MatchString(i.Repository) {
		fail(key+".repository", fmt.Sprintf("%q is no registry/owner/name", i.Repository), "a repository has no tag and no digest")
	}
	if !local(i.Package) {
		fail(key+".package", fmt.Sprintf("%q is no folder inside the repository", i.Package), "")
	}
	if i.Base != "scratch" && !pinnedRule().MatchString(i.Base) {
		fail(key+".base", fmt.Sprintf("%q is not pinned by digest", i.Base), "write name@sha256:…; a tag can move")
	}
	if i.Toolchain != "" && !pinnedRule().MatchString(i.Toolchain) {
		fail(key+".toolchain", fmt.Sprintf("%q is not pinned by digest", i.Toolchain), "write name@sha256:…; a tag can move")
	}
	if i.User != "" && !userRule().MatchString(i.User) {
		fail(key+".user", fmt.Sprintf("%q must be uid or uid:gid", i.User), "numbers, so that Kubernetes can see that it is not root")
	}
	for n, pl := range i.Platforms {
		if strings.Count(pl, "/") < 1 {
			fail(fmt.Sprintf("%s.platforms[%d]", key, n), fmt.Sprintf("%q is no os/arch", pl), "such as linux/amd64")
		}
	}
	for _, inc := range i.Include {
		if !local(inc) {
			fail(key+".include", fmt.Sprintf("%q is outside the repository", inc), "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Services)) {
		validateService(key+".services."+name, name, i.Services[name], fail)
	}
}

func validateService(key, name string, s Service, fail failFunc) {
	if !nameRule().MatchString(name) {
		fail(key, "a service's name must be lower-case letters, digits and dashes", "it is the name of a host, and of variables")
	}
	if s.Image == "" && len(s.Command) == 0 {
		fail(key, "has neither image nor command", "Dagger runs the image, the embedded builder the command")
	}
	if s.Image != "" && !pinnedRule().MatchString(s.Image) {
		fail(key+".image", fmt.Sprintf("%q is not pinned by digest", s.Image), "write name@sha256:…; a tag can move")
	}
	if len(s.Ports) == 0 {
		fail(key+".ports", "names no port", "tests find the service by its first port")
	}
	for _, port := range s.Ports {
		if port < 1 || port > 65535 {
			fail(key+".ports", fmt.Sprintf("%d is no port", port), "")
		}
	}
}

func validateRole(key string, r Role, c *Config, fail failFunc) {
	if !nameRule().MatchString(r.Name) {
		fail(key, "a role's name must be lower-case letters, digits and dashes", "")
	}
	if _, ok := c.Images[r.Image]; !ok {
		fail(key+".image", fmt.Sprintf("%q is not among images", r.Image), "")
	}
	validateTarget(key, r, fail)
	if r.Stable < 0 {
		fail(key+".stable", fmt.Sprintf("%s is no span of time", time.Duration(r.Stable)), "")
	}
	if r.Port < 0 || r.Port > 65535 {
		fail(key+".port", fmt.Sprintf("%d is no port", r.Port), "")
	}
	if h := r.Host; h != nil && strings.ContainsAny(h.Service, "/ \t\n'\"") {
		fail(key+".host.service", fmt.Sprintf("%q is no service name", h.Service), "")
	}
	for i, probe := range r.AllProbes() {
		if kinds := count(probe.Path != "", len(probe.Command) > 0, probe.Event != nil); kinds != 1 {
			fail(key+"."+r.probeKey(i), "needs exactly one of path, command and event", "")
		}
	}
}

// AllProbes is Probe, if there is one, before Probes.
func (r Role) AllProbes() []Probe {
	if r.Probe == nil {
		return r.Probes
	}
	return append([]Probe{*r.Probe}, r.Probes...)
}

// probeKey is where the file names the i-th of AllProbes.
func (r Role) probeKey(i int) string {
	if r.Probe == nil {
		return fmt.Sprintf("probes[%d]", i)
	}
	if i == 0 {
		return "probe"
	}
	return fmt.Sprintf("probes[%d]", i-1)
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// local reports whether a slash path stays below the root.
func local(p string) bool {
	clean := path.Clean(p)
	return p != "" && !path.IsAbs(p) && clean != ".." && !strings.HasPrefix(clean, "../")
}

// lineOf finds the line of a dotted key, or of its deepest part that is in
// the file.
func lineOf(root *yaml.Node, key string) int {
	line, n := root.Line, root
	for _, part := range strings.Split(key, ".") {
		name, _, _ := strings.Cut(part, "[")
		found := false
		if n != nil && n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					line, n, found = n.Content[i].Line, n.Content[i+1], true
					break
				}
			}
		}
		if !found {
			break
		}
	}
	return line
}

// AnswersHTTP reports whether a probe asks the role by HTTP.
func (r Role) AnswersHTTP() bool {
	return slices.ContainsFunc(r.AllProbes(), func(p Probe) bool { return p.Path != "" })
}
