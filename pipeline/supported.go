package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/pipeline/git"
)

// closure is what goes into an image's tree before its commands run.
type closure struct {
	content
	edited  edits
	install string // key of the install by which alone node_modules was made; "" if others ran
	moved   moved
}

// closureOf is the closure of the inputs, as their install needs it.
func closureOf(ctx context.Context, in Inputs) (closure, error) {
	c, err := gitContent(ctx, in, len(in.Image.Run) == 0)
	if err != nil {
		return closure{}, err
	}
	c, edited, err := in.aim.settings(ctx, c)
	return closure{content: c, edited: edited}, err
}

// taken is what the commands made of it, with the files of the repository as they are
// committed where they were edited. What the install lacks is refused.
func (g closure) taken(ctx context.Context, in Inputs, made content) (content, error) {
	if err := in.neededScripts(ctx, made); err != nil {
		return made, err
	}
	return g.edited.undo(made)
}

// edits are files of the repository that are other ones while the commands run: pnpm
// reads from its settings which platform it installs for. The image has them as they
// are committed.
type edits map[string]edit

type edit struct{ before, during []byte }

// supported is the setting of pnpm, with the platform as its only one.
type supported struct {
	OS   []string `json:"os" yaml:"os"`
	CPU  []string `json:"cpu" yaml:"cpu"`
	Libc []string `json:"libc,omitempty" yaml:"libc,omitempty"`
}

// settings is the content in which pnpm is told the platform of a, and what is edited
// for it. Which of the two files it reads depends on its version.
func (a *aim) settings(ctx context.Context, c content) (content, edits, error) {
	if a == nil || a.only == nil || a.manager != "pnpm" {
		return c, nil, nil
	}
	want := supported{OS: []string{a.only.OS}, CPU: []string{a.only.CPU}}
	if a.only.Libc != "" {
		want.Libc = []string{a.only.Libc}
	}
	done := edits{}
	for at, change := range map[string]func([]byte, supported) ([]byte, error){"package.json": inManifest, "pnpm-workspace.yaml": inWorkspace} {
		err := c.only(func(e entry) bool { return e.Path == at && e.Kind == kindFile }).each(ctx, func(_ entry, r io.Reader) error {
			before, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			during, err := change(before, want)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			done[at] = edit{before, during}
			return nil
		})
		if err != nil {
			return c, nil, err
		}
	}
	return c.replaced(func(e entry) []byte { return done[e.Path].during }), done, nil
}

func inManifest(data []byte, want supported) ([]byte, error) {
	var manifest, pnpm map[string]any
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, err
	}
	pnpm, _ = manifest["pnpm"].(map[string]any)
	if pnpm == nil {
		pnpm = map[string]any{}
	}
	pnpm["supportedArchitectures"] = want
	manifest["pnpm"] = pnpm
	return json.Marshal(manifest)
}

func inWorkspace(data []byte, want supported) ([]byte, error) {
	settings := map[string]any{}
	if err := yaml.Unmarshal(data, &settings); err != nil {
		return nil, err
	}
	settings["supportedArchitectures"] = want
	return yaml.Marshal(settings)
}

// undo is what the commands made, with the edited files as they are committed.
func (e edits) undo(c content) (content, error) {
	var failed error
	out := c.replaced(func(x entry) []byte {
		mine, ok := e[x.Path]
		if !ok || x.disk == "" {
			return nil
		}
		now, err := os.ReadFile(x.disk)
		if err == nil && !bytes.Equal(now, mine.during) {
			err = fmt.Errorf("%s: a command changes it, and pnpm reads from it which platform it installs for", x.Path)
		}
		if err != nil && failed == nil {
			failed = err
		}
		return mine.before
	})
	return out, failed
}

// replaced is the content with other bytes of the files for which data has any.
func (c content) replaced(data func(entry) []byte) content {
	out := c.only(func(entry) bool { return true })
	for i := range out.Entries {
		e := &out.Entries[i]
		if bytes := data(*e); bytes != nil {
			e.blob, e.disk, e.data, e.Size = git.File{}, "", bytes, int64(len(bytes))
		}
	}
	return out
}
