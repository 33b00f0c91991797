package pipeline

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

func TestARealEngineRunsTestsWithTheirServices(t *testing.T) {
	opts := realEngine(t)
	program := serviceProgram(t)
	require.NoError(t, copyFile(program, filepath.Join(opts.rootfs, "bin", "service"), 0o755))
	for _, name := range []string{"bash", "grep"} {
		addProgram(t, opts.rootfs, name)
	}
	var told []release.Event
	opts.Progress = func(e release.Event) { t.Log(e.Mark, e.Message, e.Took); told = append(told, e) }
	r := sample.New(t, sample.Options{})
	ask := func(more string) []string {
		return []string{"bash", "-c", `read -r greeting n </dev/tcp/$MY_DB_HOST/$MY_DB_PORT && echo $greeting $n; test "$greeting" = hello ` + more}
	}
	image := func() config.Image {
		img := workerImage()
		img.Toolchain = toolchain
		img.Run = [][]string{{"sh", "-c", "echo made > packages/system-bus/made"}}
		img.Services = map[string]config.Service{"my-db": {
			Image: toolchain, Args: []string{"/bin/service"}, Ports: []int{5432}, Env: map[string]string{"PORT": "5432", "GREETING": "hello"},
			Ready: ask("&& test $n -gt 3"),
		}}
		return img
	}
	t.Run("at the same time, with the digest of the embedded builder", func(t *testing.T) {
		img := image()
		img.Parallel, img.Test = true, [][]string{ask("&& test -e packages/system-bus/made && sleep 2"), ask("&& sleep 2")}
		told = nil
		b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		var order []release.Mark
		for _, e := range told {
			if strings.Contains(e.Message, "sleep 2") {
				order = append(order, e.Mark)
			}
		}
		require.Equal(t, []release.Mark{release.MarkStart, release.MarkStart, release.MarkDone, release.MarkDone}, order)
		for _, e := range told {
			if strings.Contains(e.Message, "ran bash") {
				require.Less(t, e.Took, 3500*time.Millisecond, "one after the other they would take four seconds")
			}
		}
		local := testOptions(t)
		local.buildRoot = ""
		img.Test, img.Services = nil, nil
		want, err := Build(t.Context(), resolve(t, r.Dir, img), local)
		require.NoError(t, err)
		require.Equal(t, want.Digest, b.Digest)
	})
	t.Run("alone, in order", func(t *testing.T) {
		img := image()
		img.Test = [][]string{{"sh", "-c", "echo left > left"}, {"test", "-e", "left"}, ask("&& exit 5"), {"sh", "-c", "exit 1"}}
		tested, err := testImage(t.Context(), resolve(t, r.Dir, img), opts)
		var failed *CommandError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, img.Test[2], failed.Args)
		var outcomes []TestOutcome
		for _, r := range tested.Tests {
			outcomes = append(outcomes, r.Outcome)
		}
		require.Equal(t, []TestOutcome{TestPassed, TestPassed, TestFailed, TestSkipped}, outcomes)
	})
	t.Run("and names one that does not become ready", func(t *testing.T) {
		for says, change := range map[string]func(*config.Service){
			"no data folder":       func(s *config.Service) { s.Args = []string{"/bin/sh", "-c", "echo no data folder; exit 7"} },
			"not ready within 2s":  func(s *config.Service) { s.Args = []string{"/bin/sleep", "60"} },
			"ready: no such table": func(s *config.Service) { s.Ready = []string{"sh", "-c", "echo no such table; exit 1"} },
		} {
			img := image()
			s := img.Services["my-db"]
			s.Within = config.Duration(2 * time.Second)
			change(&s)
			img.Services["my-db"], img.Test = s, [][]string{{"true"}}
			_, err := testImage(t.Context(), resolve(t, r.Dir, img), opts)
			var failed *ServiceError
			require.ErrorAs(t, err, &failed, says)
			require.Equal(t, "my-db", failed.Name)
			require.ErrorContains(t, err, says)
		}
	})
}
