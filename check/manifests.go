package check

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
)

// manifestPaths are the files and folders of which a role's objects are made:
// those that it names, and what a kustomization in them names in turn.
func (c *checks) manifestPaths(role config.Role) ([]string, error) {
	var found []string
	queue := slices.Clone(role.Kubernetes.Manifests)
	for len(queue) > 0 {
		p := path.Clean(queue[0])
		queue = queue[1:]
		if isKustomization(p) {
			p = path.Dir(p)
		}
		if slices.Contains(found, p) {
			continue
		}
		found = append(found, p)
		for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			if file := path.Join(p, name); c.has(file) {
				named, err := c.kustomized(file)
				if err != nil {
					return nil, err
				}
				queue = append(queue, named...)
			}
		}
	}
	return found, nil
}

func isKustomization(file string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, path.Base(file))
}

// kustomized are the folders that a kustomization builds on.
func (c *checks) kustomized(file string) ([]string, error) {
	data, err := c.Tree.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return nil, nil // rendering reports it
	}
	var folders []string
	for _, key := range keysOf(doc.Content[0], "resources", "bases", "components") {
		for _, item := range scalars(field(doc.Content[0], key)) {
			p := path.Join(path.Dir(file), item)
			if files, err := c.Tree.List(p); err == nil && len(files) > 0 && !c.has(p) {
				folders = append(folders, p)
			}
		}
	}
	return folders, nil
}

// keysOf are the keys of a mapping that are one of names, in any case: kustomize
// reads them so.
func keysOf(mapping *yaml.Node, names ...string) []string {
	var keys []string
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := mapping.Content[i].Value
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(key, name) }) {
			keys = append(keys, key)
		}
	}
	return keys
}
