package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// said is what one command line ended with.
type said struct {
	code     int
	out, err string
}

func shipit(t *testing.T, args ...string) said {
	t.Helper()
	var out, err strings.Builder
	code := execute(t.Context(), args, terminal{out: &out, err: &err})
	return said{code, out.String(), err.String()}
}

func TestUsage(t *testing.T) {
	repo := sample.New(t, sample.Options{})

	t.Run("a rollback to what names no release is a usage error, before anything is reached", func(t *testing.T) {
		got := shipit(t, "rollback", "-C", repo.Dir, "--kubeconfig", "/nonexistent", "--to", "!!")
		require.Equal(t, exitUsage, got.code, got.err)
		require.Contains(t, got.err, `shipit: "!!" is no sequence number, SHA, version or constraint`)
	})

	t.Run("a DIR that is not there is a usage error of every command", func(t *testing.T) {
		for _, command := range []string{"check", "build", "status", "init"} {
			got := shipit(t, command, "-C", "/nonexistent")
			require.Equal(t, exitUsage, got.code, got.err)
			require.Contains(t, got.err, "shipit: -C /nonexistent: no such file or directory")
			got = shipit(t, command, "-C", filepath.Join(repo.Dir, "shipit.yaml"))
			require.Equal(t, exitUsage, got.code, got.err)
			require.Contains(t, got.err, "shipit.yaml: not a directory")
		}
	})
}

func TestCheckReproducible(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	repo := sample.New(t, sample.Options{})
	got := shipit(t, "build", "--check-reproducible", "-C", repo.Dir, "-o", "json")
	require.Equal(t, exitOK, got.code, got.err)
	var doc buildResult
	require.NoError(t, json.Unmarshal([]byte(got.out), &doc), got.out)
	require.Equal(t, repo.Git("rev-parse", "HEAD"), doc.SHA)
	require.Len(t, doc.Images, 1)
	require.Equal(t, "worker", doc.Images[0].Name)
	require.Regexp(t, "^sha256:", doc.Images[0].Digest)

	got = shipit(t, "build", "--check-reproducible", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	require.Empty(t, got.out, "what was not pushed is no reference to compose with")
}
