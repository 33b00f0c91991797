package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

func TestCommandsNeedAToolchainInAnEngine(t *testing.T) {
	img := workerImage()
	img.Run = [][]string{{"true"}}
	_, err := chooseBuilder(t.Context(), Inputs{Name: "worker", Image: img}, Options{Builder: "dagger"})
	require.ErrorContains(t, err, "images.worker has commands to run and no toolchain")
}

func TestAutoSaysWhichBuilderAndWhy(t *testing.T) {
	r := sample.New(t, sample.Options{})
	in := resolve(t, r.Dir, workerImage())
	git, err := filepath.EvalSymlinks("/usr/bin/git")
	require.NoError(t, err)
	for _, name := range []string{"DAGGER_SESSION_PORT", "DAGGER_SESSION_TOKEN", "_EXPERIMENTAL_DAGGER_RUNNER_HOST", "_EXPERIMENTAL_DAGGER_CLI_BIN"} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	require.NoError(t, os.Symlink(git, filepath.Join(bin, "git")))
	opts := testOptions(t)
	opts.Builder = "auto"
	var notes []string
	opts.Progress = func(e release.Event) { notes = append(notes, e.Message) }
	b, err := Build(context.Background(), in, opts)
	require.NoError(t, err)
	require.Equal(t, "embedded", b.Builder)
	require.Contains(t, strings.Join(notes, "\n"), "builder: embedded, because no Dagger engine: neither Docker nor Podman is installed")

	opts, _ = daggerOptions(t)
	opts.Builder = ""
	opts.Progress = func(e release.Event) { notes = append(notes, e.Message) }
	b, err = Build(context.Background(), in, opts)
	require.NoError(t, err)
	require.Equal(t, "dagger", b.Builder)
	require.Contains(t, strings.Join(notes, "\n"), "builder: dagger, by a given connection")
}

func TestTheEngineOfACallersClientIsNamed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	engine.output = "one\ntwo\n"
	client, err := dagger.Connect(t.Context(), dagger.WithConn(engine))
	require.NoError(t, err)
	defer client.Close()
	opts.Client, opts.conn = client, nil
	var said []string
	opts.Progress = func(e release.Event) { said = append(said, fmt.Sprint(e.Mark, " ", e.Message)) }
	_, err = Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Contains(t, said, "note builder: dagger, by a client of the caller, engine v0.21.8")
	require.Subset(t, said, []string{"step one", "step two"}, "what a command printed is told when it has ended")
	require.False(t, engine.closed)
}
