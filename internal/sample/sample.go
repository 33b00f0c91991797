// Package sample makes git repositories of testdata/monorepo for tests. The same
// calls give the same commits: author, dates and content are fixed.
package sample

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Options fill in and change the sample before its first commit.
type Options struct {
	Registry string            // for ${REGISTRY} in shipit.yaml; default registry.test
	Base     string            // for ${BASE}; default scratch
	Config   string            // all of shipit.yaml, with the same placeholders; default: the sample's
	Overlay  string            // folder of testdata that is laid over it, in place of shipit.yaml
	Edits    map[string]string // files to add or replace
	Dir      string            // where; default: a temporary folder of the test
}

// Repo is a git repository of the sample monorepo, on branch main.
type Repo struct {
	Dir string

	t       testing.TB
	commits int
}

// Fault is the edit that makes a commit's worker broken: crash-on-boot,
// never-healthy, ignore-sigterm, register-fails.
func Fault(name string) map[string]string {
	return map[string]string{"packages/system-bus/src/fault.ts": fmt.Sprintf("export const fault = %q;\n", name)}
}

// New makes the repository with one commit, "sample".
func New(t testing.TB, o Options) *Repo {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r := &Repo{Dir: o.Dir, t: t}
	require.NoError(t, os.CopyFS(o.Dir, os.DirFS(monorepo(t))))
	cfg := o.Config
	if cfg == "" {
		cfg = r.Read("shipit.yaml")
	}
	fill := strings.NewReplacer("${REGISTRY}", or(o.Registry, "registry.test"), "${BASE}", or(o.Base, "scratch"))
	r.write("shipit.yaml", fill.Replace(cfg))
	if o.Overlay != "" {
		require.NoError(t, os.Remove(filepath.Join(o.Dir, "shipit.yaml"))) // init writes it
		r.overlay(filepath.Join(filepath.Dir(monorepo(t)), o.Overlay))
	}
	r.Git("init", "-q", "-b", "main")
	r.Commit("sample", o.Edits)
	return r
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// monorepo is testdata/monorepo of the module that the test belongs to.
func monorepo(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; ; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "testdata", "monorepo")
		if _, err := os.Stat(filepath.Join(at, "pnpm-lock.yaml")); err == nil {
			return at
		}
		require.NotEqual(t, filepath.Dir(dir), dir, "testdata/monorepo is above no folder of the test")
	}
}

// Commit writes the edits, path to content, commits everything and returns the
// commit's SHA. A commit without edits is an empty one.
func (r *Repo) Commit(msg string, edits map[string]string) string {
	r.t.Helper()
	for _, p := range slices.Sorted(maps.Keys(edits)) {
		r.write(p, edits[p])
	}
	return r.commit(msg)
}

// overlay puts the files of a folder over those of the repository.
func (r *Repo) overlay(dir string) {
	r.t.Helper()
	tree := os.DirFS(dir)
	require.NoError(r.t, fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		r.write(path, string(text))
		return err
	}))
}

// Remove commits that a file or folder is gone, and returns the commit's SHA.
func (r *Repo) Remove(path string) string {
	r.t.Helper()
	require.NoError(r.t, os.RemoveAll(filepath.Join(r.Dir, path)))
	return r.commit("remove " + path)
}

func (r *Repo) commit(msg string) string {
	r.t.Helper()
	r.commits++
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", msg)
	return r.Git("rev-parse", "HEAD")
}

// Tag puts a lightweight tag on HEAD.
func (r *Repo) Tag(name string) {
	r.t.Helper()
	r.Git("tag", name)
}

// Read returns a file of the working directory.
func (r *Repo) Read(path string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.Dir, path))
	require.NoError(r.t, err)
	return string(data)
}

func (r *Repo) write(path, content string) {
	r.t.Helper()
	at := filepath.Join(r.Dir, path)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(at), 0o755))
	mode := fs.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	require.NoError(r.t, os.WriteFile(at, []byte(content), mode))
	require.NoError(r.t, os.Chmod(at, mode))
}

// Git runs git in the repository, with nothing of the user's configuration, and
// returns what it printed.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	date := fmt.Sprintf("2026-01-02T03:04:%02dZ", r.commits%60)
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Sample", "GIT_AUTHOR_EMAIL=sample@example.com", "GIT_AUTHOR_DATE=" + date,
		"GIT_COMMITTER_NAME=Sample", "GIT_COMMITTER_EMAIL=sample@example.com", "GIT_COMMITTER_DATE=" + date,
	}
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}
