package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// platforms refuses an image that has nothing for the system that a role runs on. Which
// architecture its nodes or its machine have is not known from the tree.
func (c *checks) platforms(context.Context) error {
	for _, role := range c.Config.Roles {
		img, known := c.Config.Images[role.Image]
		system, where, example := systemOf(role)
		if !known || system == "" || builtFor(img, system) {
			continue
		}
		c.refuse(release.CodeNoMatchingPlatform, c.config.position("images."+role.Image+".platforms"),
			fmt.Sprintf("image %s is for %s, and role %s runs on %s", role.Image, strings.Join(platformsOf(img), ", "), role.Name, where),
			fmt.Sprintf("write the platforms of all roles that run it, such as images.%s.platforms: [%s]", role.Image, example))
	}
	return nil
}

// systemOf is the operating system of a role, as Go names it; "" if it is not known.
func systemOf(role config.Role) (system, where, example string) {
	switch {
	case role.Kubernetes != nil:
		return "linux", "nodes of Kubernetes", "linux/arm64, darwin/arm64"
	case role.Host != nil && role.Host.Manager == "launchd":
		return "darwin", "a Mac", "linux/arm64, darwin/arm64"
	case role.Host != nil && role.Host.Manager == "systemd":
		return "linux", "Linux", "linux/amd64"
	}
	return "", "", ""
}

// builtFor reports whether an image has a platform of a system. Of a base that is not
// read here it is known that Macs run none.
func builtFor(img config.Image, system string) bool {
	return slices.ContainsFunc(platformsOf(img), func(p string) bool { return strings.HasPrefix(p, system+"/") })
}

// platformsOf are the platforms for which an image is built.
func platformsOf(img config.Image) []string {
	if wanted := img.WantedPlatforms(); len(wanted) > 0 {
		return wanted
	}
	return []string{"linux/* of its base"}
}
