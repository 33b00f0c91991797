package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
)

// The digest is that of `shipit build` of the sample, which the embedded builder makes.
func TestTheExampleWithARealEngine(t *testing.T) {
	if os.Getenv("SHIPIT_TEST_DAGGER") != "1" {
		t.Skip("SHIPIT_TEST_DAGGER=1 runs the example with a real Dagger engine, reached in the standard way")
	}
	r := sample.New(t, sample.Options{})
	program := filepath.Join(t.TempDir(), "example")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.CommandContext(t.Context(), program, r.Dir, "worker")
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir()) // nothing of an earlier build is used
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err = cmd.Output()
	require.NoError(t, err, said.String())
	lines := strings.Split(string(out), "\n")

	source, err := git.Open(t.Context(), r.Dir, "HEAD", config.File)
	require.NoError(t, err)
	defer source.Close()
	cfg, err := config.Load(filepath.Join(r.Dir, config.File), "")
	require.NoError(t, err)
	inputs, err := pipeline.Resolve(t.Context(), source, cfg, "worker")
	require.NoError(t, err)
	want, err := pipeline.Build(t.Context(), inputs, pipeline.Options{Builder: "embedded", CacheDir: t.TempDir()})
	require.NoError(t, err)
	require.Equal(t, "registry.test/busrig/system-bus-worker@"+want.Digest, lines[0])
	require.Equal(t, "bun --no-install run src/serve.ts", lines[1])
	require.Contains(t, lines, "packages/system-bus/src/serve.ts")
}
