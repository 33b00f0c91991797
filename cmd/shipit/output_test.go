package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
}

func TestAResultThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	repo := sample.New(t, sample.Options{Registry: "127.0.0.1:1"})
	for _, format := range []string{"text", "json"} {
		t.Run("as "+format, func(t *testing.T) {
			var errs strings.Builder
			code := execute(t.Context(), []string{"check", "-C", repo.Dir, "-o", format}, terminal{out: full{}, err: &errs})
			require.Equal(t, exitUnexpected, code)
			require.Contains(t, errs.String(), "write the result: write /dev/stdout: no space left on device")
		})
	}
	t.Run("as YAML", func(t *testing.T) {
		g := &globals{output: "text", term: terminal{out: full{}, err: io.Discard}}
		err := g.result(nil, func(w io.Writer) { _, _ = w.Write([]byte("kind: Pod\n")) })
		require.True(t, errors.Is(err, syscall.ENOSPC))
	})
}

func TestTheConfigurationIsFoundFromASubfolder(t *testing.T) {
	repo := sample.New(t, sample.Options{})
	below := filepath.Join(repo.Dir, "packages", "system-bus")
	for _, command := range []string{"status", "history", "rollback"} {
		t.Run(command, func(t *testing.T) {
			got := shipit(t, command, "-C", below, "--kubeconfig", "/nonexistent")
			require.NotContains(t, got.err, "shipit.yaml: no such file")
			require.Contains(t, got.err, "/nonexistent", "the configuration was read, and the cluster looked for")
		})
	}
	t.Run("but not above the repository", func(t *testing.T) {
		inner := filepath.Join(repo.Dir, "packages", "inner")
		require.NoError(t, os.MkdirAll(filepath.Join(inner, ".git"), 0o755))
		got := shipit(t, "status", "-C", inner, "--kubeconfig", "/nonexistent")
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.err, filepath.Join(inner, "shipit.yaml")+": no such file")
	})
	t.Run("and not where --config names a file", func(t *testing.T) {
		got := shipit(t, "status", "-C", below, "--config", "shipit.yaml", "--kubeconfig", "/nonexistent")
		require.Contains(t, got.err, filepath.Join(below, "shipit.yaml")+": no such file")
	})
}
