package git

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// A tree that git itself would not make can be written and pushed all the same.
func TestATreeWhoseNamesEscapeIsRefused(t *testing.T) {
	r := sample.New(t, sample.Options{})
	feed := func(input string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Stdin = r.Dir, strings.NewReader(input)
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	blob := r.Git("rev-parse", "HEAD:README.md")
	for _, name := range []string{"..", "."} {
		t.Run("an entry named "+name, func(t *testing.T) {
			inner := feed(fmt.Sprintf("100644 blob %s\tpwned\n", blob), "mktree")
			escaping := feed(fmt.Sprintf("040000 tree %s\t%s\n", inner, name), "mktree")
			assets := feed(fmt.Sprintf("040000 tree %s\tassets\n", escaping), "mktree")
			commit := r.Git("commit-tree", "-m", "escape", assets)
			_, err := Open(context.Background(), r.Dir, commit)
			var unsafe *UnsafePathError
			require.ErrorAs(t, err, &unsafe)
			require.Equal(t, "assets/"+name+"/pwned", unsafe.Path)
		})
	}
}
