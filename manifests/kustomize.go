package manifests

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/release"
)

func kustomizationNames() []string { return konfig.RecognizedKustomizationFileNames() }

// kustomize builds the kustomization in a folder of the tree, from the tree alone.
func kustomize(tree Tree, dir string) ([]object, error) {
	overlay := overlay{
		tree: tree, files: filesys.MakeFsInMemory(), seen: map[string]bool{},
		remote: regexp.MustCompile(`(?i)^([^=/:]+=)?(git::)?(https?:|[a-z]+:/|[^/]*@|github\.com|gh:)`),
	}
	if err := overlay.load(dir); err != nil {
		return nil, err
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(overlay.files, rooted(dir))
	if err != nil {
		return nil, &Error{Code: release.CodeBadManifest, File: dir, Msg: release.OneLine(err.Error())}
	}
	var objects []object
	for _, res := range built.Resources() {
		data, err := res.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("kustomize %s: %w", dir, err)
		}
		o, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("kustomize %s: %w", dir, err)
		}
		o.file = dir
		flat, err := flatten(o)
		if err != nil {
			return nil, err
		}
		objects = append(objects, flat...)
	}
	return objects, nil
}

// overlay is what of the tree a kustomization can reach, copied into memory.
type overlay struct {
	tree   Tree
	files  filesys.FileSystem
	seen   map[string]bool // folders
	remote *regexp.Regexp  // what the library reads as an address
}

// load copies a folder and the folders that its kustomization names. Whatever
// would be fetched from elsewhere is refused here: the library would fetch it.
func (v *overlay) load(dir string) error {
	if v.seen[dir] {
		return nil
	}
	v.seen[dir] = true
	files, err := v.tree.List(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, file := range files {
		if v.files.Exists(rooted(file)) {
			continue
		}
		data, err := v.tree.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if err := v.files.WriteFile(rooted(file), data); err != nil {
			return fmt.Errorf("copy %s: %w", file, err)
		}
	}
	for _, name := range kustomizationNames() {
		if file := path.Join(dir, name); slices.Contains(files, file) {
			return v.follow(file)
		}
	}
	return nil
}

// follow loads what a kustomization, or a file that configures one, names.
func (v *overlay) follow(file string) error {
	data, err := v.files.ReadFile(rooted(file))
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return v.documents(file, data)
}

// isMapping reports whether a text begins with a YAML mapping.
func isMapping(text string) bool {
	var content map[string]any
	docs := split([]byte(text))
	return len(docs) > 0 && yaml.Unmarshal(docs[0].text, &content) == nil && content != nil
}

func (v *overlay) documents(file string, data []byte) error {
	for _, doc := range split(data) {
		var content any
		if err := yaml.Unmarshal(doc.text, &content); err != nil {
			return doc.fault(file, err)
		}
		if err := v.entries(file, "", content); err != nil {
			return err
		}
	}
	return nil
}

// entries walks the values under the keys that may hold a path or an address.
func (v *overlay) entries(file, key string, value any) error {
	switch value := value.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(value)) {
			if err := v.entries(file, k, value[k]); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range value {
			if err := v.entries(file, key, inner); err != nil {
				return err
			}
		}
	case string:
		return v.entry(file, key, value)
	}
	return nil
}

// entry follows one value.
func (v *overlay) entry(file, key, value string) error {
	configures := named(key, "generators", "transformers", "validators")
	if configures && isMapping(value) {
		return v.documents(file, []byte(value)) // it is the configuration itself, and no path to it
	}
	isFolder := configures || named(key, "resources", "bases", "components")
	isFile := named(key, "crds", "configurations", "patchesStrategicMerge", "path", "paths", "files", "file", "envs", "env")
	if !isFolder && !isFile || strings.Contains(value, "\n") {
		return nil
	}
	if v.remote.MatchString(value) {
		return &Error{Code: release.CodeRemoteBase, File: file, Msg: fmt.Sprintf("%s: %q is not in the commit", key, value), Hint: "copy it into the repository: a release is made of one commit's tree"}
	}
	if !isFolder {
		return nil
	}
	at := path.Join(path.Dir(file), value)
	if at == ".." || strings.HasPrefix(at, "../") {
		return &Error{Code: release.CodeRemoteBase, File: file, Msg: fmt.Sprintf("%s: %q is outside the repository", key, value)}
	}
	if err := v.load(at); err != nil {
		return err
	}
	// Generators, transformers and validators are files that name further ones.
	if configures && v.isFile(at) {
		return v.follow(at)
	}
	return nil
}

// named reports whether a key is one of names, as the library reads it: by
// encoding/json, for which "Resources" is "resources" too.
func named(key string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(key, name) })
}

func (v *overlay) isFile(at string) bool {
	return v.files.Exists(rooted(at)) && !v.files.IsDir(rooted(at))
}

func rooted(p string) string { return path.Join("/", p) }
