package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// runsOn refuses a toolchain without an image for a wanted platform: an engine would
// use the image of another platform. A toolchain that this machine cannot read is
// left to the engine to check.
func (c chosen) runsOn(ctx context.Context, in Inputs, list []platform, opts Options) error {
	if c.name != daggerBuilder || len(in.Image.Run) == 0 || opts.Base == nil {
		return nil
	}
	found, err := opts.Base(ctx, in.Image.Toolchain)
	if err != nil {
		opts.report(release.MarkNote, "toolchain %s: its platforms could not be checked: %v", in.Image.Toolchain, err)
		return ctx.Err()
	}
	all, err := basePlatforms(found)
	if err != nil {
		return fmt.Errorf("toolchain %s: %w", in.Image.Toolchain, err)
	}
	var wanted []string
	for _, p := range list {
		wanted = append(wanted, p.spec.OS+"/"+p.spec.Architecture)
	}
	if _, err := choose(all, wanted); err != nil {
		return fmt.Errorf("toolchain %s: %w", in.Image.Toolchain, err)
	}
	return nil
}

// foreignPackages refuses packages that were installed for the platform of the build
// machine if the image is for another one: their native parts cannot run there.
func foreignPackages(ctx context.Context, c content, list []platform, builder string) error {
	remedy := "use the Dagger builder for other platforms"
	if builder == daggerBuilder {
		remedy = "install for the image's platform, or take a toolchain that has it"
	}
	manifests := c.only(func(e entry) bool {
		return e.Kind == kindFile && workspace.InNodeModules(e.Path) && path.Base(e.Path) == "package.json"
	})
	return manifests.each(ctx, func(e entry, r io.Reader) error {
		var m struct {
			Name    string    `json:"name"`
			OS, CPU npmValues // both absent from most
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if json.Unmarshal(data, &m) != nil {
			return nil // packages carry broken ones as test data
		}
		for _, p := range list {
			if !m.OS.allow(p.spec.OS) || !m.CPU.allow(npmArch(p.spec.Architecture)) {
				return fmt.Errorf("%s (%s) cannot run on %s: it was installed for the platform of the build machine; %s", m.Name, e.Path, p.name, remedy)
			}
		}
		return nil
	})
}

// npmValues is "os" or "cpu" of a package.json: what may be, or with "!" what may not.
type npmValues []string

// UnmarshalJSON reads a list or a single string.
func (v *npmValues) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = npmValues{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(v))
}

func (v npmValues) allow(value string) bool {
	if len(v) == 0 || slices.Contains(v, "any") || slices.Contains(v, value) {
		return true
	}
	for _, s := range v {
		if !strings.HasPrefix(s, "!") {
			return false
		}
	}
	return !slices.Contains(v, "!"+value)
}

// npmArch is what npm calls an architecture.
func npmArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x64"
	case "386":
		return "ia32"
	}
	return goarch
}
