package check

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// readLimit is how much of a file is looked at; a file that is longer is no source.
const readLimit = 4 << 20

// ban is one forbidden pattern, compiled.
type ban struct {
	config.Forbid
	pattern *regexp.Regexp
	allowed []*regexp.Regexp
}

// forbidden looks for every forbidden pattern in every file of the tree.
func (c *checks) forbidden(ctx context.Context) error {
	bans, err := c.bans()
	if err != nil || len(bans) == 0 {
		return err
	}
	return c.Tree.ReadFiles(c.files, func(path string, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(content, readLimit))
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
			return nil // no text
		}
		for _, b := range bans {
			if !b.allows(path) {
				c.banned(b, path, data)
			}
		}
		return nil
	})
}

func (c *checks) banned(b ban, path string, data []byte) {
	// Most files hold no match at all, and are not cut into lines.
	if !b.pattern.Match(data) {
		return
	}
	first, last := 0, 0
	if path == c.config.file && c.config.root != nil {
		// The configuration itself has to name what it forbids.
		list := c.config.find("check.forbid")
		first, last = list.Line, lastLine(list)
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		if n := i + 1; b.pattern.Match(line) && (n < first || n > last) {
			message := fmt.Sprintf("%q is forbidden here", b.pattern.Find(line))
			if b.Why != "" {
				message += ": " + b.Why
			}
			c.refuse(release.CodeForbiddenReference, at(path, n), message, "remove it, or add the path to the allow list of check.forbid")
		}
	}
}

func (b ban) allows(path string) bool {
	for _, re := range b.allowed {
		if re.MatchString(path) {
			return true
		}
	}
	return false
}

func (c *checks) bans() ([]ban, error) {
	var bans []ban
	for i, f := range c.Config.Check.Forbid {
		pattern, err := regexp.Compile(f.Pattern)
		if err != nil {
			return nil, fmt.Errorf("check.forbid[%d]: %w", i, err)
		}
		b := ban{Forbid: f, pattern: pattern}
		for j, allow := range f.Allow {
			re, err := glob(allow, oneCharacter)
			if err != nil {
				c.refuse(release.CodeBadPattern, c.config.position(fmt.Sprintf("check.forbid[%d].allow[%d]", i, j)), err.Error(), "")
				continue
			}
			b.allowed = append(b.allowed, re)
		}
		bans = append(bans, b)
	}
	return bans, nil
}
