package manifests

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// pins writes the release's digests, and the role's environment, into containers.
type pins struct {
	repository string            // of the role's image, normal form
	refs       map[string]string // repository in normal form → reference by digest
	env        map[string]string
	digest     *regexp.Regexp
	tagged     *regexp.Regexp
	found      bool // set when a container of the role's image was found
}

func newPins(in roleInput) *pins {
	p := &pins{
		repository: normal(in.Repository), refs: map[string]string{}, env: in.Role.Env,
		digest: regexp.MustCompile(`@sha256:[0-9a-f]{64}$`),
	}
	for repository, digest := range in.Pinned {
		p.refs[normal(repository)] = repository + "@" + digest
	}
	p.refs[p.repository] = in.Repository + "@" + in.Digest
	p.tagged = taggedRule(append(slices.Sorted(maps.Keys(in.Pinned)), in.Repository))
	return p
}

// apply pins every image of the object. An image of a container that is not the
// release's must be pinned already.
func (p *pins) apply(o object) error {
	if o.kind() != "Secret" || o.group() != "" {
		p.everywhere(o.fields)
	}
	var errs []error
	for _, template := range o.podTemplates() {
		spec := mapping(template, "spec")
		for _, list := range []string{"initContainers", "containers"} {
			for i, c := range mappings(spec, list) {
				errs = append(errs, p.container(o, c, fmt.Sprintf("%s[%d]", list, i)))
			}
		}
		for _, volume := range mappings(spec, "volumes") {
			if image := mapping(volume, "image"); image != nil {
				_, err := p.reference(o, image, "reference", "volume "+text(volume, "name"))
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (p *pins) container(o object, c map[string]any, position string) error {
	name := text(c, "name")
	if name == "" {
		name = position
	}
	mine, err := p.reference(o, c, "image", "container "+name)
	if err != nil {
		return err
	}
	if mine {
		p.found = true
		mergeEnv(c, p.env)
	}
	return nil
}

// reference pins the reference in one field of a part; true if it is the role's image.
func (p *pins) reference(o object, holder map[string]any, field, part string) (bool, error) {
	ref := text(holder, field)
	repository := normal(repositoryOf(ref))
	if pinned, ok := p.refs[repository]; ok && ref != "" {
		holder[field] = pinned
		return repository == p.repository, nil
	}
	if p.digest.MatchString(ref) {
		return false, nil
	}
	e := o.fault(release.CodeImageNotPinned, fmt.Sprintf("image %q is not pinned by digest", ref), "write "+repositoryOf(ref)+"@sha256:…; a tag can move")
	e.Part = part
	if ref == "" {
		e.Msg, e.Hint = "names no image", "name the role's image; shipit fills in the digest"
	}
	return false, e
}

// everywhere pins the release's images in every text of an object: as the value
// of an image field whatever it says, elsewhere only where it names one by tag.
// What a controller starts of it is then what was released.
func (p *pins) everywhere(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			ref, isText := inner.(string)
			if pinned, ok := p.refs[normal(repositoryOf(ref))]; ok && isText && key == "image" {
				value[key] = pinned
				p.found = p.found || pinned == p.refs[p.repository]
				continue
			}
			value[key] = p.everywhere(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = p.everywhere(inner)
		}
	case string:
		return p.tagged.ReplaceAllStringFunc(value, func(found string) string {
			parts := p.tagged.FindStringSubmatch(found)
			return parts[1] + p.refs[normal(parts[2])]
		})
	}
	return value
}

// taggedRule matches what is before an image by tag of one of the repositories,
// its repository, and its tag.
func taggedRule(repositories []string) *regexp.Regexp {
	quoted := make([]string, 0, len(repositories))
	for _, r := range repositories {
		quoted = append(quoted, regexp.QuoteMeta(r))
	}
	return regexp.MustCompile(`(^|[^A-Za-z0-9._/@:-])(` + strings.Join(quoted, "|") + `):[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(?:@sha256:[0-9a-f]{64})?`)
}

// repositoryOf is an image reference without its tag and digest.
func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndex(ref, ":"); colon > strings.LastIndex(ref, "/") {
		ref = ref[:colon]
	}
	return ref
}

// normal is the one spelling of a repository that runtimes pull several
// spellings of: Docker Hub's may go without the registry and without library/.
func normal(repository string) string {
	first, rest, found := strings.Cut(repository, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" {
		first, rest = "docker.io", repository
	}
	if first == "index.docker.io" {
		first = "docker.io"
	}
	if first == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return first + "/" + rest
}

// mergeEnv sets variables in a container: one that it has already is replaced
// where it is, others follow sorted.
func mergeEnv(container map[string]any, env map[string]string) {
	if len(env) == 0 {
		return
	}
	list, _ := container["env"].([]any)
	merged := make([]any, 0, len(list)+len(env))
	set := map[string]bool{}
	for _, item := range list {
		v, _ := item.(map[string]any)
		name := text(v, "name")
		if value, replaced := env[name]; replaced {
			if set[name] {
				continue
			}
			item, set[name] = map[string]any{"name": name, "value": value}, true
		}
		merged = append(merged, item)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !set[name] {
			merged = append(merged, map[string]any{"name": name, "value": env[name]})
		}
	}
	container["env"] = merged
}
