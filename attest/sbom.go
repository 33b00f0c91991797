package attest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/joelhooks/shipit/pipeline/lockfile"
)

// Lock is a lockfile and the part of it that an image holds.
type Lock struct {
	File    lockfile.Lockfile
	Package string   // folder of the package that the image is made of
	Closure []string // folders of the workspace packages that it links to
	Name    string   // of the image, for the head of the SBOM
}

// SBOM lists the packages of a production install of the closure, as CycloneDX
// JSON: no development dependencies, and nothing of other workspace packages. The
// same lockfile gives the same bytes: there is no time in it, and the serial number
// is a hash of the content. A link that leaves the closure is an error.
func SBOM(l Lock) (json.RawMessage, error) {
	all, err := packagesOf(l.File)
	if err != nil {
		return nil, fmt.Errorf("SBOM of %s: %w", l.Name, err)
	}
	reached, err := all.reach(l)
	if err != nil {
		return nil, fmt.Errorf("SBOM of %s: %w", l.Name, err)
	}
	return render(l, all, reached)
}

// packages is a lockfile by its own ids.
type packages map[string]pkg

// pkg is one installed package, or one workspace package.
type pkg lockfile.Package

func packagesOf(file lockfile.Lockfile) (packages, error) {
	found, err := file.Packages()
	if err != nil {
		return nil, err
	}
	all := packages{}
	for id, p := range found {
		all[id] = pkg(p)
	}
	return all, nil
}

// reach walks the dependencies of the image's package. It maps every id that it
// reaches to whether it is required (true) or only optional (false).
func (all packages) reach(l Lock) (map[string]bool, error) {
	inside := map[string]bool{l.Package: true}
	for _, folder := range l.Closure {
		inside[folder] = true
	}
	reached := map[string]bool{}
	var walk func(id string, required bool) error
	walk = func(id string, required bool) error {
		if before, seen := reached[id]; seen && (before || !required) {
			return nil
		}
		p, known := all[id]
		if !known {
			return fmt.Errorf("the lockfile does not hold %s", strings.TrimPrefix(id, "folder:"))
		}
		if p.Folder != "" && !inside[p.Folder] {
			return fmt.Errorf("%s is linked to but is not in the closure", p.Folder)
		}
		reached[id] = required
		for _, next := range p.Needs {
			if err := walk(next, required); err != nil {
				return err
			}
		}
		for _, next := range p.MayNeed {
			if err := walk(next, false); err != nil {
				return err
			}
		}
		return nil
	}
	return reached, walk(lockfile.FolderID(l.Package), true)
}

// render is the document of the packages that were reached. Copies of one version
// that the lockfile lists once for each set of peer dependencies are one component.
func render(l Lock, all packages, reached map[string]bool) (json.RawMessage, error) {
	components := map[string]cdx.Component{}
	edges := map[string]map[string]bool{}
	root := all[lockfile.FolderID(l.Package)].ref()
	for id, required := range reached {
		p := all[id]
		ref := p.ref()
		if edges[ref] == nil {
			edges[ref] = map[string]bool{}
		}
		for _, next := range slices.Concat(p.Needs, p.MayNeed) {
			edges[ref][all[next].ref()] = true
		}
		if ref == root {
			continue
		}
		c := p.component()
		if required || components[ref].Scope == cdx.ScopeRequired {
			c.Scope = cdx.ScopeRequired
		}
		components[ref] = c
	}
	bom := cdx.NewBOM()
	bom.SpecVersion, bom.JSONSchema = cdx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: root, Name: l.Name}}
	list := sorted(components)
	bom.Components = &list
	var dependencies []cdx.Dependency
	for ref, to := range edges {
		on := keysOf(to)
		dependencies = append(dependencies, cdx.Dependency{Ref: ref, Dependencies: &on})
	}
	sort.Slice(dependencies, func(i, j int) bool { return dependencies[i].Ref < dependencies[j].Ref })
	bom.Dependencies = &dependencies
	content, err := json.Marshal(bom)
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = serial(content)
	return json.Marshal(bom)
}

func sorted(components map[string]cdx.Component) []cdx.Component {
	list := make([]cdx.Component, 0, len(components))
	for _, c := range components {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].BOMRef < list[j].BOMRef })
	return list
}

func keysOf(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	sort.Strings(list)
	return list
}

// serial is a UUID of version 8 (vendor-specific content), made of the content's
// hash.
func serial(content []byte) string {
	sum := sha256.Sum256(content)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	return fmt.Sprintf("urn:uuid:%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// fromRegistry tells a published version from a git source or an archive.
func (p pkg) fromRegistry() bool {
	return p.Folder == "" && p.Version != "" && p.Version[0] >= '0' && p.Version[0] <= '9'
}

// ref is the package URL of what a registry published, and otherwise a name.
func (p pkg) ref() string {
	switch {
	case p.Folder != "":
		return "workspace:" + p.Folder
	case p.fromRegistry():
		return "pkg:npm/" + strings.Replace(p.Name, "@", "%40", 1) + "@" + strings.ReplaceAll(p.Version, "+", "%2B")
	}
	return p.Name + "@" + p.Version
}

func (p pkg) component() cdx.Component {
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: p.ref(), Name: p.Name, Version: p.Version, Scope: cdx.ScopeOptional}
	if group, short, scoped := strings.Cut(p.Name, "/"); scoped && strings.HasPrefix(group, "@") {
		c.Group, c.Name = group, short
	}
	if p.fromRegistry() {
		c.PackageURL = p.ref()
	}
	if hashes := hashesOf(p.Integrity); len(hashes) > 0 {
		c.Hashes = &hashes
	}
	return c
}

// hashesOf reads a list of hashes in the form of Subresource Integrity.
func hashesOf(integrity string) []cdx.Hash {
	names := map[string]cdx.HashAlgorithm{"sha1": cdx.HashAlgoSHA1, "sha256": cdx.HashAlgoSHA256, "sha384": cdx.HashAlgoSHA384, "sha512": cdx.HashAlgoSHA512}
	var all []cdx.Hash
	for _, one := range strings.Fields(integrity) {
		algorithm, value, _ := strings.Cut(one, "-")
		raw, err := base64.StdEncoding.DecodeString(value)
		if name, known := names[algorithm]; known && err == nil {
			all = append(all, cdx.Hash{Algorithm: name, Value: hex.EncodeToString(raw)})
		}
	}
	return all
}
