package check

import (
	"context"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

var todoRule = pattern.Lazy(`^(?:[^"'#]|"[^"]*"|'[^']*')*#\s*TODO:\s*(.*)$`)

// todos reports what shipit.yaml still asks for: lines with a comment that begins with
// TODO:, as shipit init writes them, and bases with its placeholder for the digest.
func (c *checks) todos(context.Context) error {
	asked := map[string]bool{}
	if data, err := c.Tree.ReadFile(c.config.file); err == nil {
		for i, line := range strings.Split(string(data), "\n") {
			if m := todoRule().FindStringSubmatch(line); m != nil {
				asked[at(c.config.file, i+1)] = true
				c.refuse(release.CodeTodo, at(c.config.file, i+1), strings.TrimSpace(m[1]), "")
			}
		}
	}
	for _, name := range c.Config.ImageNames() {
		position := c.config.position("images." + name + ".base")
		if strings.HasSuffix(c.Config.Images[name].Base, config.PlaceholderDigest) && !asked[position] {
			c.refuse(release.CodeBasePlaceholder, position, "the digest of the base image is still to be filled in", "")
		}
	}
	return nil
}
