package workspace

import (
	"context"
	"io"
	"path"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/git"
)

var (
	tsconfigName = pattern.Lazy(`(^|/)tsconfig[^/]*\.json$`)
	extendsKey   = pattern.Lazy(`"extends"\s*:\s*(\[[^\]]*\]|"[^"]*")`)
	quoted       = pattern.Lazy(`"([^"]*)"`)
)

// tsconfigs adds to all the files of the repository that its tsconfig files
// extend: the runtime reads them when it resolves paths and JSX.
func (b *closureBuilder) tsconfigs(ctx context.Context, all map[string]git.File) error {
	var next []git.File
	for p, f := range all {
		if tsconfigName().MatchString(p) && !InNodeModules(p) && !f.Submodule() {
			next = append(next, f)
		}
	}
	for len(next) > 0 {
		now := next
		next = nil
		err := b.source.Read(ctx, now, func(c git.File, _ int64, r io.Reader) error {
			data, err := io.ReadAll(r)
			for _, p := range extended(c.Path, data) {
				f, ok := b.source.File(p)
				if _, known := all[p]; ok && !known {
					all[p] = f
					next = append(next, f)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// extended are the relative paths that a tsconfig extends, as written and with
// ".json" added. Packages that it extends come with the dependencies.
func extended(file string, data []byte) []string {
	var out []string
	for _, m := range extendsKey().FindAllSubmatch(data, -1) {
		for _, q := range quoted().FindAllSubmatch(m[1], -1) {
			rel := string(q[1])
			if !strings.HasPrefix(rel, ".") {
				continue
			}
			if p, ok := Inside(path.Dir(file), rel); ok && p != "" { // "" is the root, which is no file
				out = append(out, p, p+".json")
			}
		}
	}
	return out
}
