package attest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// buildType is the SLSA build type: it defines the parameters of provenance.
const buildType = "https://shipit.dev/build/v1"

// Build is what an image was built from, and what built it.
type Build struct {
	Repository string            // https URL of the git repository
	SHA        string            // commit, 40 hex digits
	Tree       string            // its tree
	Image      string            // name in shipit.yaml
	Package    string            // folder of the package
	Closure    map[string]string // folder or file of the closure → git object, 40 hex digits
	Lockfile   string            // its path, a key of Closure; empty if there is none
	Bases      []string          // base and toolchain images, name@sha256:…
	Platforms  []string
	Recipe     [][]string // commands that were run
	Key        string     // inputs key, 64 hex digits
	Builder    string     // embedded or dagger
	Version    string     // of shipit
	RunID      string     // CI run; empty outside CI
	RunURL     string
}

// Provenance is a build as a SLSA provenance v1 predicate. The same build gives
// the same bytes: it holds no time.
func Provenance(b Build) any {
	return provenance{
		BuildDefinition: buildDefinition{
			BuildType: buildType,
			External: external{
				Source: sourceURI(b.Repository), Commit: b.SHA, Image: b.Image,
				Package: b.Package, Platforms: b.Platforms, Recipe: b.Recipe,
			},
			Internal:     internal{Key: b.Key, Lockfile: b.Lockfile},
			Dependencies: dependencies(b),
		},
		RunDetails: runDetails{
			Builder:  builder{ID: "https://shipit.dev/builder/" + b.Builder, Version: map[string]string{"shipit": b.Version}},
			Metadata: metadata{Invocation: b.invocation()},
		},
	}
}

// sourceURI drops the user and password of a URL, because attestations are public.
func sourceURI(repository string) string {
	if repository == "" {
		return ""
	}
	repository = strings.TrimPrefix(repository, "git+")
	if scheme, rest, ok := strings.Cut(repository, "://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		repository = scheme + "://" + host[strings.LastIndex(host, "@")+1:] + "/" + path
	}
	return "git+" + repository
}

func (b Build) invocation() string {
	if b.RunURL != "" {
		return b.RunURL
	}
	return b.RunID
}

// provenance follows https://slsa.dev/spec/v1.0/provenance.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType    string       `json:"buildType"`
	External     external     `json:"externalParameters"`
	Internal     internal     `json:"internalParameters"`
	Dependencies []dependency `json:"resolvedDependencies"`
}

type external struct {
	Source    string     `json:"source"`
	Commit    string     `json:"commit"`
	Image     string     `json:"image"`
	Package   string     `json:"package"`
	Platforms []string   `json:"platforms,omitempty"`
	Recipe    [][]string `json:"recipe,omitempty"`
}

type internal struct {
	Key      string `json:"inputsKey,omitempty"`
	Lockfile string `json:"lockfile,omitempty"`
}

type dependency struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
	Name   string            `json:"name,omitempty"`
}

type runDetails struct {
	Builder  builder  `json:"builder"`
	Metadata metadata `json:"metadata,omitzero"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

type metadata struct {
	Invocation string `json:"invocationId,omitempty"`
}

// dependencies are the commit, the objects of the closure and the images, in
// this order, each sorted.
func dependencies(b Build) []dependency {
	digest := map[string]string{"gitCommit": b.SHA}
	if b.Tree != "" {
		digest["gitTree"] = b.Tree
	}
	all := []dependency{{URI: sourceURI(b.Repository), Digest: digest}}
	for _, path := range slices.Sorted(maps.Keys(b.Closure)) {
		kind := "gitTree"
		if path == b.Lockfile {
			kind = "gitBlob"
		}
		all = append(all, dependency{Name: path, Digest: map[string]string{kind: b.Closure[path]}})
	}
	for _, image := range slices.Sorted(slices.Values(b.Bases)) {
		name, sum, _ := strings.Cut(image, "@sha256:")
		all = append(all, dependency{URI: "oci://" + name, Digest: map[string]string{"sha256": sum}})
	}
	return all
}

// origin is the source of an image, by its provenance.
type origin struct {
	repository string
	commit     string
}

// originOf reads provenance of any build type: SLSA has the commit in the first
// dependency with a git digest.
func originOf(b *bundle.Bundle) origin {
	var p provenance
	if json.Unmarshal(statementIn(b).Predicate, &p) != nil {
		return origin{}
	}
	for _, d := range p.BuildDefinition.Dependencies {
		if commit := d.Digest["gitCommit"]; commit != "" {
			return origin{repository: d.URI, commit: commit}
		}
	}
	return origin{}
}

// sameRepository compares two repository URLs, ignoring git+, the scheme, user@,
// .git and a ref.
func sameRepository(a, b string) bool { return plainRepository(a) == plainRepository(b) }

func plainRepository(s string) string {
	s = strings.TrimPrefix(s, "git+")
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	} else if host, path, ok := strings.Cut(s, ":"); ok && strings.Contains(host, "@") {
		s = host + "/" + path // git@host:path
	}
	host, path, _ := strings.Cut(s, "/")
	if i := strings.LastIndex(host, "@"); i >= 0 {
		host = host[i+1:]
	}
	path, _, _ = strings.Cut(path, "@")
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/"), ".git")
	return strings.ToLower(host) + "/" + path
}
