package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// errNotHere says why the base's own programs cannot be tried on this machine.
var errNotHere = errors.New("cannot run here")

// base is the unpacked base of a platform that this machine can run.
func (s Subject) base(ctx context.Context) (rootfs, error) {
	if s.Image.Base == "scratch" {
		return rootfs{}, fmt.Errorf("%w: the image has no runtime of its own", errNotHere)
	}
	if s.Base == nil {
		return rootfs{}, fmt.Errorf("%w: it is not for %s/%s", errNotHere, runtime.GOOS, runtime.GOARCH)
	}
	return unpack(ctx, s.Base, filepath.Join(s.CacheDir, "bases"))
}

// syntax has the base's own bun parse the repository's files. errNotHere: it could not.
func (s Subject) syntax(ctx context.Context, root rootfs, files []string) ([]release.Finding, error) {
	if len(s.Image.Entrypoint) == 0 || path.Base(s.Image.Entrypoint[0]) != "bun" {
		return nil, fmt.Errorf("%w: only bun is asked about syntax", errNotHere)
	}
	bun, err := root.program(s.Image.Entrypoint[0])
	if err != nil {
		return []release.Finding{refusal(release.CodeRuntimeMissing, s.Image.Base, err.Error(), "entrypoint must name a program of the base")}, nil
	}
	args, err := root.command(bun)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotHere, err)
	}
	scratch, done, err := process.Scratch(process.Syntax)
	if err != nil {
		return nil, err
	}
	defer done()
	args = append(args, "build", "--external=*", "--target=bun", "--outdir", filepath.Join(scratch, "out"))
	cmd := process.Group(ctx, args[0], append(args[1:], files...)...)
	cmd.Dir, cmd.Env = s.Tree, []string{"HOME=" + scratch, "TMPDIR=" + scratch, "NO_COLOR=1", "PATH=/usr/bin:/bin"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	found := s.rejected(out.String())
	var exit *exec.ExitError
	switch {
	case err == nil || len(found) > 0:
		return found, nil
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%w: bun build ended with %w: %s", errNotHere, err, process.LastLine(out.String()))
	}
	return nil, fmt.Errorf("%w: %w", errNotHere, err)
}

// rejection is how bun reports an error at a place.
var rejection = pattern.Lazy(`(?m)^error: (.*)\n\s+at (.+):(\d+):\d+$`)

func (s Subject) rejected(out string) []release.Finding {
	var found []release.Finding
	for _, m := range rejection().FindAllStringSubmatch(out, -1) {
		file := strings.TrimPrefix(m[2], s.Tree+"/")
		found = append(found, refusal(release.CodeSyntaxRejected, file+":"+m[3],
			fmt.Sprintf("the runtime of %s does not accept it: %s", s.Image.Base, m[1]), "use syntax that this version knows, or pin a newer base"))
	}
	return found
}

// parsable keeps the files of the repository that bun can parse.
func parsable(files []string) []string {
	var out []string
	for _, f := range files {
		if !workspace.InNodeModules(f) && slices.Contains(scriptExtensions(), path.Ext(f)) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
