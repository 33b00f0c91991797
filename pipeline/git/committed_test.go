package git

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

func TestWhenACommitWasMadeIsWhatGitSays(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for name, date := range map[string]string{
		"Plain Name":             "1700000001 +0000",
		"12345 -0700":            "1700000002 -0700",
		"Name > with > brackets": "1700000003 +1345",
	} {
		t.Run(name, func(t *testing.T) {
			commit := exec.CommandContext(t.Context(), "git", "commit", "--allow-empty", "-m", "one\n\ncommitter Nobody <n@example.com> 1 +0000")
			commit.Dir = r.Dir
			commit.Env = append(os.Environ(), "GIT_COMMITTER_DATE="+date, "GIT_COMMITTER_NAME="+name, "GIT_COMMITTER_EMAIL=n@example.com",
				"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com")
			out, err := commit.CombinedOutput()
			require.NoError(t, err, "%s", out)
			s := open(t, r.Dir, "")
			defer s.Close()
			at, err := s.Committed(t.Context())
			require.NoError(t, err)
			require.Equal(t, r.Git("show", "--no-patch", "--format=%ct", "HEAD"), strconv.FormatInt(at.Unix(), 10))
			require.Equal(t, date[:10], strconv.FormatInt(at.Unix(), 10))
		})
	}
}
