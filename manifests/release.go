package manifests

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Complete renders the objects of every role of a release whose images are known.
// tree is that of the commit.
func Complete(rel release.Release, cfg config.Config, tree Tree) (release.Release, error) {
	pinned := map[string]string{}
	for _, role := range rel.Roles {
		pinned[role.Repository] = role.Digest
	}
	inputs := make([]Input, 0, len(rel.Roles))
	for _, role := range rel.Roles {
		settings, _ := cfg.Role(role.Name)
		inputs = append(inputs, Input{
			App: rel.App, SHA: rel.SHA, Version: rel.Version,
			Role: settings, Image: cfg.Images[role.Image], Repository: role.Repository, Digest: role.Digest, Pinned: pinned,
			Deadline: cfg.Timeout.Or(0), Tree: tree,
		})
	}
	// All at once: two roles may have one object, and pods of one may read data of another.
	objects, err := Compose(inputs)
	if err != nil {
		return release.Release{}, fmt.Errorf("render: %w", err)
	}
	rel.Roles = slices.Clone(rel.Roles)
	for i := range rel.Roles {
		rel.Roles[i].Objects = objects[i]
	}
	return rel, nil
}

// Notes are findings about the rendered objects of every role that are no faults of
// the manifests themselves.
func Notes(cfg config.Config, rel release.Release) ([]release.Finding, error) {
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
