package workspace

import (
	"encoding/json"
	"maps"
)

// manifest is what shipit reads of a package.json.
type manifest struct {
	Name                 string            `json:"name"`
	Workspaces           workspaces        `json:"workspaces"`
	Dependencies         map[string]string `json:"dependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
	PatchedDependencies  map[string]string `json:"patchedDependencies"` // bun
	Resolutions          map[string]string `json:"resolutions"`         // yarn's overrides, which pnpm takes too
	Pnpm                 struct {
		PatchedDependencies map[string]string `json:"patchedDependencies"`
		Overrides           map[string]string `json:"overrides"`
	} `json:"pnpm"`
}

// workspaces is a list of globs, or an object that holds one.
type workspaces []string

// UnmarshalJSON reads both forms.
func (w *workspaces) UnmarshalJSON(data []byte) error {
	var object struct {
		Packages []string `json:"packages"`
	}
	if json.Unmarshal(data, &object) == nil {
		*w = object.Packages
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// runtimeDependencies are the ones that must be there when the package runs.
// Where a name stands in several maps the stricter one wins.
func (m manifest) runtimeDependencies() map[string]string {
	all := map[string]string{}
	maps.Copy(all, m.PeerDependencies)
	maps.Copy(all, m.OptionalDependencies)
	maps.Copy(all, m.Dependencies)
	return all
}

// declares reports whether the package may import name when it runs.
func (m manifest) declares(name string) bool {
	for _, deps := range []map[string]string{m.Dependencies, m.OptionalDependencies, m.PeerDependencies} {
		if _, ok := deps[name]; ok {
			return true
		}
	}
	return m.Name == name
}
