package git

import (
	"context"
	"errors"
	"strings"
)

// Dirty lists the paths in which the working directory differs from HEAD,
// untracked ones too. It is for a note to the user: none of them is an input.
func (s Source) Dirty(ctx context.Context) ([]string, error) {
	if s.Top == s.GitDir {
		return nil, nil
	}
	out, _, err := run(ctx, s.Top, "status", "--porcelain=v1", "-z", "--no-renames")
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, line := range strings.Split(out, "\x00") {
		if len(line) > 3 {
			paths = append(paths, line[3:])
		}
	}
	return paths, nil
}

// isAncestor reports whether the commit is an ancestor of rev, or rev itself.
func (s Source) isAncestor(ctx context.Context, rev string) (bool, error) {
	if strings.HasPrefix(rev, "-") {
		return false, &NoSuchRevError{Rev: rev, Dir: s.Top}
	}
	_, _, err := run(ctx, s.GitDir, "--git-dir="+s.GitDir, "merge-base", "--is-ancestor", s.SHA, rev)
	var said *gitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &said) && said.state.ExitCode() == 1:
		return false, nil
	case errors.As(err, &said):
		return false, &NoSuchRevError{Rev: rev, Dir: s.Top}
	}
	return false, err
}
