package scaffold_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/scaffold"
)

var update = flag.Bool("update", false, "rewrite what the archives in testdata want")

// sample is a repository in an archive of testdata, and what is wanted of it.
type sample struct {
	archive *txtar.Archive
	file    string
	tree    fstest.MapFS
}

func readSample(t *testing.T, name string) sample {
	t.Helper()
	s := sample{file: filepath.Join("testdata", name+".txtar"), tree: fstest.MapFS{}}
	var err error
	s.archive, err = txtar.ParseFile(s.file)
	require.NoError(t, err)
	for _, f := range s.archive.Files {
		if !strings.HasPrefix(f.Name, "want/") {
			s.tree[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		}
	}
	return s
}

// equal compares a text with a file of the archive, or rewrites that.
func (s sample) equal(t *testing.T, name, got string) {
	t.Helper()
	for i, f := range s.archive.Files {
		if f.Name != name {
			continue
		}
		if *update {
			s.archive.Files[i].Data = []byte(got)
			require.NoError(t, os.WriteFile(s.file, txtar.Format(s.archive), 0o644))
			return
		}
		require.Equal(t, string(f.Data), got)
		return
	}
	require.Fail(t, "the archive does not say what it wants", name)
}

// digests answers as a registry would.
func digests(_ context.Context, ref string) (string, error) {
	if strings.Contains(ref, "node") || strings.Contains(ref, "bun") {
		return "sha256:" + strings.Repeat("1", 64), nil
	}
	return "", errors.New("not found")
}

// findings are those of `shipit check` for a commit of the sample with that shipit.yaml.
func (s sample) findings(t *testing.T, text string) []release.Finding {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, s.tree))
	require.NoError(t, os.WriteFile(filepath.Join(dir, config.File), []byte(text), 0o644))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A", "-f"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "sample"}} {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	source, err := git.Open(t.Context(), dir, "HEAD")
	require.NoError(t, err)
	defer source.Close()
	cfg, err := config.Parse(config.File, []byte(text), "")
	require.NoError(t, err)
	found, err := check.Commit(t.Context(), source, cfg)
	require.NoError(t, err)
	return found
}

// todos are the findings that a configuration has for its lines with TODO.
func todos(text string) []string {
	var want []string
	for i, line := range strings.Split(text, "\n") {
		if _, question, ok := strings.Cut(line, "# TODO: "); ok {
			want = append(want, fmt.Sprintf("Todo %s:%d: %s", config.File, i+1, question))
		}
	}
	return want
}

func TestSamples(t *testing.T) {
	for _, c := range []struct {
		name, origin string
		todos        int
	}{
		{"cluster-and-machines", "git@github.com:Busrig/busrig.git", 7},
		{"kustomize", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := readSample(t, c.name)
			draft, err := scaffold.Read(t.Context(), s.tree, scaffold.Options{Origin: c.origin, Digest: digests})
			require.NoError(t, err)
			s.equal(t, "want/shipit.yaml", draft.YAML)
			s.equal(t, "want/left-out", strings.Join(draft.LeftOut, "\n")+"\n")
			require.Len(t, draft.Todos, c.todos)

			var got []string
			for _, f := range s.findings(t, draft.YAML) {
				if f.Severity == release.Refuses {
					got = append(got, f.String())
				}
			}
			require.Equal(t, todos(draft.YAML), got, "check refuses for the questions, and for nothing else")
		})
	}
}

func TestOfflineTheDigestIsAsked(t *testing.T) {
	s := readSample(t, "kustomize")
	draft, err := scaffold.Read(t.Context(), s.tree, scaffold.Options{})
	require.NoError(t, err)
	require.Contains(t, draft.Todos, "the digest, by crane digest docker.io/library/node:22-bookworm-slim (packages/api/Dockerfile:7)")
	cfg, err := config.Parse(config.File, []byte(draft.YAML), "")
	require.NoError(t, err)
	require.Equal(t, "docker.io/library/node:22-bookworm-slim@"+config.PlaceholderDigest, cfg.Images["api"].Base)
}
