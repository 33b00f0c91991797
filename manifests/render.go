// Package manifests turns one role of a release into what its target is given:
// Kubernetes objects with the image pinned by digest, or the service definition
// of a host. It is pure: the same input gives the same bytes, and neither the
// network, the clock nor the working directory is read.
package manifests

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// roleInput is one role of one release.
type roleInput struct {
	App     string // as in shipit.yaml
	SHA     string // 40 hex digits; is in annotations only, so that it restarts nothing
	Version string // semantic version without the "v"; empty: no annotation

	Role       config.Role
	Image      config.Image
	Repository string            // registry/owner/name of the role's image
	Digest     string            // sha256:…, what the role is told to run
	Pinned     map[string]string // repository → digest of the release's other images

	Tree     Tree          // of the commit; needed only where the role names manifests
	Deadline time.Duration // for Deployments that set no progressDeadlineSeconds; default 5m
}

// Tree reads the files of a commit. Paths are slash-separated and relative to
// its root.
type Tree interface {
	// ReadFile returns the bytes of a file.
	ReadFile(path string) ([]byte, error)
	// List returns the paths, from the root, of all files at or below path, "."
	// for all; none if the commit holds nothing of that path.
	List(path string) ([]string, error)
}

// renderers says what makes the objects of a role, by target.
func renderers() map[release.Target]func(roleInput) ([]object, error) {
	return map[release.Target]func(roleInput) ([]object, error){
		release.TargetKubernetes: renderObjects,
		release.TargetHost:       renderService,
	}
}

func renderService(in roleInput) ([]object, error) {
	definition, err := serviceDefinition(in)
	if err != nil {
		return nil, err
	}
	o, err := decode(definition)
	return []object{o}, err
}

func renderObjects(in roleInput) ([]object, error) {
	objects, unread := gather(in)
	if err := errors.Join(unread, stamp(in, objects, unread == nil), unique(objects)); err != nil {
		return nil, err
	}
	slices.SortStableFunc(objects, func(a, b object) int { return cmp.Compare(a.applyOrder(), b.applyOrder()) })
	return objects, nil
}

// gather reads the role's manifests, or makes them if it names none. Beside an error
// stand the objects that could be read.
func gather(in roleInput) ([]object, error) {
	if len(in.Role.Kubernetes.Manifests) == 0 {
		return generate(in), nil
	}
	var objects []object
	var errs []error
	for _, path := range in.Role.Kubernetes.Manifests {
		found, err := read(in.Tree, path)
		objects, errs = append(objects, found...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return objects, err
	}
	if len(objects) == 0 {
		return nil, &Error{Code: release.CodeBadManifest, File: in.Role.Kubernetes.Manifests[0], Msg: "holds no object"}
	}
	return objects, nil
}

// stamp writes into the objects what the release adds to them. all says that they are
// all of the role's.
func stamp(in roleInput, objects []object, all bool) error {
	pins, types := newPins(in), newSchema()
	var errs []error
	for _, o := range objects {
		o.dropServerFields()
		if o.namespace() == "" && !o.clusterScoped(objects) {
			o.metadata()["namespace"] = in.Role.Kubernetes.Namespace
		}
		errs = append(errs, types.check(o), pins.apply(o))
		label(in, o)
		setDeadline(o, in.Deadline)
	}
	if all && !pins.found {
		errs = append(errs, &Error{
			Code: release.CodeImageNotMentioned, File: firstOf(in.Role.Kubernetes.Manifests), Object: "role " + in.Role.Name,
			Msg:  fmt.Sprintf("no container runs %s", in.Repository),
			Hint: "name the image " + in.Repository + " (any tag) in a container of the role's manifests, or correct images." + in.Role.Image + ".repository",
		})
	}
	return errors.Join(errs...)
}

// unique refuses two objects of one kind and name: the second would overwrite the
// first without a word.
func unique(objects []object) error {
	seen := map[string]object{}
	var errs []error
	for _, o := range objects {
		key := o.group() + "/" + o.id()
		if first, dup := seen[key]; dup {
			errs = append(errs, o.fault(release.CodeDuplicate, fmt.Sprintf("is declared twice, first in %s", first.position()), "keep one of them"))
			continue
		}
		seen[key] = o
	}
	return errors.Join(errs...)
}

// roleNotes are the notes of one role. all are the objects of every role of the release.
func roleNotes(role config.Role, objects, all []json.RawMessage) ([]release.Finding, error) {
	if role.Kubernetes == nil {
		return nil, nil
	}
	inside := map[configRef]bool{}
	for _, raw := range all {
		if !bytes.Contains(raw, []byte(`"ConfigMap"`)) && !bytes.Contains(raw, []byte(`"Secret"`)) {
			continue // most objects are neither
		}
		o, err := decode(raw)
		if err != nil {
			return nil, err
		}
		if ref, ok := o.asConfig(); ok {
			inside[ref] = true
		}
	}
	var notes []release.Finding
	for _, raw := range objects {
		o, err := decode(raw)
		if err != nil {
			return nil, err
		}
		if ns := o.namespace(); ns != "" && ns != role.Kubernetes.Namespace {
			notes = append(notes, release.Finding{
				Code: release.CodeOtherNamespace, Severity: release.Warns, Role: role.Name, Object: o.id(),
				Message: fmt.Sprintf("is outside the role's namespace %s", role.Kubernetes.Namespace),
				Hint:    "it is applied there, but pruned only by a release of this role",
			})
		}
		notes = append(notes, exposed(role, o)...)
		notes = append(notes, expires(role, o)...)
		notes = append(notes, outside(role, o, inside)...)
		notes = append(notes, unprobed(role, o)...)
	}
	return notes, nil
}

// exposed refuses a Secret whose values are in the commit.
func exposed(role config.Role, o object) []release.Finding {
	if o.kind() != "Secret" || o.group() != "" || len(mapping(o.fields, "data"))+len(mapping(o.fields, "stringData")) == 0 {
		return nil
	}
	return []release.Finding{{
		Code: release.CodeSecretInManifests, Severity: release.Refuses, Role: role.Name, Object: o.id(),
		Message: "its values are in the commit, and would be kept with every record and its copy in the registry",
		Hint: "create the Secret outside of the release (kubectl, a sealed Secret, an external secret store) and refer to it by name; " +
			"--allow SecretInManifests if its values are no secrets",
	}}
}

// expires refuses a Job that Kubernetes deletes some time after it has ended.
func expires(role config.Role, o object) []release.Finding {
	ttl := mapping(o.fields, "spec")["ttlSecondsAfterFinished"]
	if o.kind() != "Job" || o.group() != "batch" || ttl == nil {
		return nil
	}
	return []release.Finding{{
		Code: release.CodeJobExpires, Severity: release.Refuses, Role: role.Name, Object: o.id(),
		Message: fmt.Sprintf("is deleted %v s after it has ended: status would miss it, and the next release would run it again", ttl),
		Hint:    "remove ttlSecondsAfterFinished; a release replaces the Job of the one before where it has changed",
	}}
}

// unprobed names the containers that count as ready as soon as they run: one
// that crashes a moment later has been ready before.
func unprobed(role config.Role, o object) []release.Finding {
	if o.kind() == "Job" || o.kind() == "CronJob" || len(role.AllProbes()) > 0 {
		return nil
	}
	var notes []release.Finding
	for _, template := range o.podTemplates() {
		for _, c := range mappings(mapping(template, "spec"), "containers") {
			if c["readinessProbe"] == nil {
				notes = append(notes, release.Finding{
					Code: release.CodeNoReadinessProbe, Severity: release.Warns, Role: role.Name, Object: o.id(),
					Message: fmt.Sprintf("container %s has no readiness probe: it counts as ready before it has done anything", text(c, "name")),
					Hint:    "give it one, or give the role a probe in shipit.yaml",
				})
			}
		}
	}
	return notes
}
