package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// gitFault is what happens to git, or to the repository.
type gitFault struct {
	name   string
	script string              // stands before git; $GIT is the real one
	spoil  func(*shop, string) // does something to the file of v3 whose path in .git this is
	says   string
	always bool // tried without SHIPIT_SOAK too
}

// gitTable are the faults: of the program, and of the object of a file that the image needs.
func gitTable() []gitFault {
	spoilt := func(content string) func(*shop, string) {
		return func(s *shop, path string) {
			require.NoError(s.t, os.Chmod(path, 0o600))
			require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
		}
	}
	return []gitFault{
		{name: "hangs", script: "sleep 1000", says: "hangs"},
		{name: "reading-hangs", script: `case "$*" in *cat-file*) sleep 1000;; *) exec "$GIT" "$@";; esac`, says: "hangs"},
		{name: "ends-in-the-middle", script: `"$GIT" "$@" | head -c 3000`, says: "hangs"},
		{name: "reading-ends-in-the-middle", script: `case "$*" in *cat-file*) "$GIT" "$@" | head -c 9000;; *) exec "$GIT" "$@";; esac`, says: "hangs"},
		{name: "is-killed", script: `kill -9 $$`, says: "signal: killed", always: true},
		{name: "fails", script: `echo "fatal: the disk is on fire" >&2; exit 128`, says: "the disk is on fire"},
		{name: "prints-nonsense", script: `head -c 5000 /dev/urandom`, says: "shipit: "},
		{name: "object-is-cut", spoil: func(s *shop, path string) {
			info, err := os.Stat(path)
			require.NoError(s.t, err)
			require.NoError(s.t, os.Chmod(path, 0o600))
			require.NoError(s.t, os.Truncate(path, info.Size()/2))
		}, says: "serve.ts: object", always: true},
		{name: "object-is-garbage", spoil: spoilt("garbage"), says: "serve.ts: object"},
		{name: "object-is-empty", spoil: spoilt(""), says: "serve.ts: object"},
		{name: "object-is-another", spoil: func(s *shop, path string) {
			id := s.repo.Git("rev-parse", s.sha["v1"]+":packages/system-bus/src/serve.ts")
			other, err := os.ReadFile(filepath.Join(s.repo.Dir, ".git", "objects", id[:2], id[2:]))
			require.NoError(s.t, err)
			spoilt(string(other))(s, path)
		}, says: "serve.ts: object"},
		{name: "partial-clone", spoil: func(s *shop, path string) {
			require.NoError(s.t, os.Remove(path))
			s.repo.Git("remote", "add", "origin", "https://127.0.0.1:1/busrig.git")
			s.repo.Git("config", "remote.origin.promisor", "true")
			s.repo.Git("config", "extensions.partialClone", "origin")
		}, says: "serve.ts: object", always: true},
	}
}

// TestEveryCommandEndsWhateverGitDoes has git or the repository in trouble: what needs
// them is refused with the cause, and the way back needs neither. SHIPIT_SOAK tries
// the whole table.
func TestEveryCommandEndsWhateverGitDoes(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	g := simulated(t)
	git, err := exec.LookPath("git")
	require.NoError(t, err)
	table := gitTable()
	soak := soaking(t, func() int { return len(table) })
	for _, i := range soak.order(len(table)) {
		f := table[i]
		if !f.always && !soak.whole {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			a := ailing{shop: g.shop(t, fmt.Sprintf("git-%d", i))}
			a.does(0, "release", a.sha["v1"])
			a.does(0, "release", a.sha["v2"])
			a.sha["v3"] = a.repo.Commit("v3", map[string]string{"packages/system-bus/src/serve.ts": a.repo.Read("packages/system-bus/src/serve.ts") + "\n// third edition\n"})
			a.withoutGit(f, git)
		})
	}
}

// withoutGit runs every command under a fault of git.
func (a ailing) withoutGit(f gitFault, git string) {
	if f.spoil != nil {
		id := a.repo.Git("rev-parse", a.sha["v3"]+":packages/system-bus/src/serve.ts")
		f.spoil(a.shop, filepath.Join(a.repo.Dir, ".git", "objects", id[:2], id[2:]))
	}
	if f.script != "" {
		bin := a.t.TempDir()
		require.NoError(a.t, os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\nGIT="+git+"\n"+f.script+"\n"), 0o755))
		a.env = append(a.env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	before := a.records()
	for _, words := range [][]string{{"plan", "v3"}, {"build", "v3"}, {"release", "v3"}} {
		said := a.refuses(a.named(words)...)
		require.Contains(a.t, said, f.says, "%s", words)
		require.NotContains(a.t, said, "panic:")
		a.t.Logf("%s under %s: %s", words[0], f.name, lastLine(said))
	}
	require.Equal(a.t, before, a.records())
	for _, words := range [][]string{{"status"}, {"history"}, {"rollback"}, {"status"}} {
		code, took, said := a.timed(words...)
		require.Zero(a.t, code, "%s\n%s", words, said)
		require.Less(a.t, took, withoutRegistryLimit, "%s\n%s", words, strings.TrimSpace(said))
	}
}
