package scaffold

import (
	"cmp"
	"path"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// kustomization is one kustomization.yaml.
type kustomization struct {
	Namespace atLine   `yaml:"namespace"`
	Resources []string `yaml:"resources"`
	Bases     []string `yaml:"bases"`
	Images    []struct {
		Name    string `yaml:"name"`
		NewName string `yaml:"newName"`
	} `yaml:"images"`
}

// kustomizations are those of a repository, by folder.
type kustomizations map[string]kustomization

func readKustomizations(f files) kustomizations {
	all := kustomizations{}
	for _, at := range f.named("kustomization.yaml", "kustomization.yml", "Kustomization") {
		var k kustomization
		if yaml.Unmarshal([]byte(f.text(at)), &k) == nil {
			all[path.Dir(at)] = k
		}
	}
	return all
}

// chain is the way from a kustomization to a file, outermost first; nil if it does
// not reach it.
func (all kustomizations) chain(dir, file string) []string {
	k, ok := all[dir]
	if !ok {
		return nil
	}
	for _, resource := range append(slices.Clone(k.Resources), k.Bases...) {
		at := path.Join(dir, resource)
		if at == file {
			return []string{dir}
		}
		if at == dir {
			continue
		}
		if rest := all.chain(at, file); rest != nil {
			return append([]string{dir}, rest...)
		}
	}
	return nil
}

// place lets a workload of a kustomization be rendered by the outermost one that
// reaches it: by the one for production, if there are several.
func (all kustomizations) place(w *workload) {
	var chains [][]string
	for dir := range all {
		if chain := all.chain(dir, w.file); chain != nil {
			chains = append(chains, chain)
		}
	}
	// One that is part of a longer way is not the outermost.
	outermost := slices.DeleteFunc(slices.Clone(chains), func(c []string) bool {
		return slices.ContainsFunc(chains, func(other []string) bool { return slices.Contains(other[1:], c[0]) })
	})
	if len(outermost) == 0 {
		return
	}
	slices.SortFunc(outermost, func(a, b []string) int {
		return cmp.Or(cmp.Compare(production(a[0]), production(b[0])), cmp.Compare(a[0], b[0]))
	})
	chosen := outermost[0]
	w.entry = chosen[0]
	if len(outermost) > 1 && production(chosen[0]) > 0 {
		w.unsure = "there are several kustomizations: " + outermost[1][0]
	}
	w.kustomized = map[string]string{}
	for _, dir := range slices.Backward(chosen) {
		k := all[dir]
		if k.Namespace.text != "" {
			w.kustomizeNS = located(k.Namespace)
		}
		for _, image := range k.Images {
			if image.NewName == "" {
				continue
			}
			for written, to := range w.kustomized {
				if to == image.Name {
					w.kustomized[written] = image.NewName
				}
			}
			w.kustomized[image.Name] = image.NewName
		}
	}
}

// production is 0 for a folder named for production.
func production(dir string) int {
	if slices.Contains([]string{"production", "prod", "live"}, path.Base(dir)) {
		return 0
	}
	return 1
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
