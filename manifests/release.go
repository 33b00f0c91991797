package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Placeholder is the release of cfg with config.PlaceholderDigest for every image:
// enough to know which objects it has.
func Placeholder(cfg config.Config) release.Release {
	rel := release.Release{App: cfg.App, Kind: release.KindRelease}
	for _, r := range cfg.Roles {
		rel.Roles = append(rel.Roles, release.Role{
			Name: r.Name, Target: r.Target(), Image: r.Image, Repository: cfg.Images[r.Image].Repository, Digest: config.PlaceholderDigest,
		})
	}
	return rel
}

// Check returns what is wrong with the manifests of any role, and the notes of all. The
// error is that of tree.
func Check(cfg config.Config, tree Tree) ([]release.Finding, error) {
	rel := Placeholder(cfg)
	var found []release.Finding
	fault := func(role string, err error) error {
		for _, err := range leaves(err) {
			var e *Error
			if !errors.As(err, &e) {
				return err
			}
			found = append(found, e.Finding(role))
		}
		return nil
	}
	for _, in := range inputs(rel, cfg, tree) {
		if _, err := render(in); err != nil && fault(in.Role.Name, err) != nil {
			return nil, err
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	rel, err := Complete(rel, cfg, tree)
	if err != nil {
		return found, fault("", err)
	}
	return notesOn(cfg, rel)
}

// leaves are the errors that one joins.
func leaves(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, inner := range joined.Unwrap() {
		all = append(all, leaves(inner)...)
	}
	return all
}

// Complete renders the objects of every role of a release whose images are known.
// tree is that of the commit.
func Complete(rel release.Release, cfg config.Config, tree Tree) (release.Release, error) {
	// All at once: two roles may have one object, and pods of one may read data of another.
	objects, err := compose(inputs(rel, cfg, tree))
	if err != nil {
		return release.Release{}, fmt.Errorf("render: %w", err)
	}
	rel.Roles = slices.Clone(rel.Roles)
	for i := range rel.Roles {
		rel.Roles[i].Objects = objects[i]
	}
	return rel, nil
}

// inputs are what the roles of a release are rendered from, in their order.
func inputs(rel release.Release, cfg config.Config, tree Tree) []roleInput {
	pinned := map[string]string{}
	for _, role := range rel.Roles {
		pinned[role.Repository] = role.Digest
	}
	all := make([]roleInput, 0, len(rel.Roles))
	for _, role := range rel.Roles {
		settings, _ := cfg.Role(role.Name)
		all = append(all, roleInput{
			App: rel.App, SHA: rel.SHA, Version: rel.Version,
			Role: settings, Image: cfg.Images[role.Image], Repository: role.Repository, Digest: role.Digest, Pinned: pinned,
			Deadline: cfg.Timeout.Or(0), Tree: tree,
		})
	}
	return all
}

// notesOn are findings about the rendered objects of every role that are no faults of
// the manifests themselves.
func notesOn(cfg config.Config, rel release.Release) ([]release.Finding, error) {
	var objects []json.RawMessage
	for _, role := range rel.Roles {
		objects = append(objects, role.Objects...)
	}
	var notes []release.Finding
	for _, role := range rel.Roles {
		settings, _ := cfg.Role(role.Name)
		found, err := roleNotes(settings, role.Objects, objects)
		if err != nil {
			return nil, err
		}
		notes = append(notes, found...)
	}
	return notes, nil
}
