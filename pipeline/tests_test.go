package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// waitsFor is a test that makes a file and waits for another, for a minute and more.
func waitsFor(dir, made, other string) []string {
	return []string{"sh", "-c", "echo first " + made + "; touch " + filepath.Join(dir, made) + "; n=0; until test -e " + filepath.Join(dir, other) +
		"; do n=$((n + 1)); test $n -lt 1200 || exit 1; sleep 0.05; done; echo second " + made}
}

func TestTestsThatNeedNothingOfEachOtherRunAtTheSameTime(t *testing.T) {
	for _, name := range []string{"embedded", "dagger"} {
		t.Run(name, func(t *testing.T) {
			r := sample.New(t, sample.Options{})
			meet := t.TempDir()
			img := workerImage()
			img.Toolchain, img.Parallel = toolchain, true
			img.Test = [][]string{waitsFor(meet, "a", "b"), waitsFor(meet, "b", "a")}
			opts := testOptions(t)
			if name == "dagger" {
				opts, _ = daggerOptions(t)
			}
			var lines []string
			opts.Progress = func(e release.Event) {
				if e.Mark == release.MarkStep {
					lines = append(lines, e.Message)
				}
			}
			_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			if name == "embedded" { // the stand-in shows no output
				text := strings.Join(lines, "\n")
				require.Contains(t, text, "first a\nsecond a")
				require.Contains(t, text, "first b\nsecond b")
			}
		})
	}
}

func TestEveryTestThatFailsIsTold(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Test = [][]string{{"sh", "-c", "echo one; exit 1"}, {"true"}, {"sh", "-c", "echo two; exit 2"}}
	run := func(t *testing.T, parallel bool) ([]TestResult, error) {
		img.Parallel = parallel
		in := resolve(t, r.Dir, img)
		tested, err := testImage(t.Context(), in, testOptions(t))
		for i := range tested.Tests {
			tested.Tests[i].Seconds = 0
		}
		return tested.Tests, err
	}
	t.Run("in order, up to the first", func(t *testing.T) {
		got, err := run(t, false)
		var failed *CommandError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, img.Test[0], failed.Args)
		require.Equal(t, []TestResult{
			{Command: img.Test[0], Outcome: TestFailed, Tail: []string{"one"}}, {Command: img.Test[1], Outcome: TestSkipped}, {Command: img.Test[2], Outcome: TestSkipped},
		}, got)
	})
	t.Run("at the same time, all", func(t *testing.T) {
		got, err := run(t, true)
		require.ErrorContains(t, err, "2 of 3 tests failed: `sh -c echo one; exit 1` (exit status 1), `sh -c echo two; exit 2` (exit status 2)")
		require.Equal(t, []TestResult{
			{Command: img.Test[0], Outcome: TestFailed, Tail: []string{"one"}}, {Command: img.Test[1], Outcome: TestPassed}, {Command: img.Test[2], Outcome: TestFailed, Tail: []string{"two"}},
		}, got)
	})
}

func TestTestsRunWhileTheTreeIsTakenOutOfTheEngine(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run, img.Test = toolchain, [][]string{{"true", "build"}}, [][]string{{"true", "test"}}
	opts, engine := daggerOptions(t)
	tested, exporting := make(chan struct{}), make(chan struct{})
	engine.before = func(c chain) {
		wait, done := exporting, tested
		switch {
		case c[len(c)-1].name == "export":
			wait, done = tested, exporting
		case len(c.all("withExec")) < 2:
			return
		}
		close(done)
		select {
		case <-wait:
		case <-time.After(time.Minute):
			t.Error("one waits for the other")
		}
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
}

func TestABuildWhoseTestFailsInTheEngineLeavesNoImage(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run, img.Test = toolchain, [][]string{{"true"}}, [][]string{{"sh", "-c", "exit 5"}}
	opts, _ := daggerOptions(t)
	in := resolve(t, r.Dir, img)
	for range 2 {
		_, err := Build(t.Context(), in, opts)
		require.ErrorContains(t, err, "exit status 5")
	}
	builds, err := os.ReadDir(filepath.Join(opts.CacheDir, "builds"))
	require.NoError(t, err)
	require.Empty(t, builds)
}

func TestTestsAloneMakeNoImage(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run, img.Test = toolchain, [][]string{{"touch", "made"}}, [][]string{{"test", "-e", "made"}, {"test", "-e", "packages/system-bus/src/serve.ts"}}
	remote, engine := daggerOptions(t)
	for name, opts := range map[string]Options{"embedded": testOptions(t), "dagger": remote} {
		tested, err := testImage(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, name, tested.Builder)
		require.Len(t, tested.Tests, 2)
		blobs, err := filepath.Glob(filepath.Join(opts.CacheDir, "blobs", "sha256", "*"))
		require.NoError(t, err)
		require.Empty(t, blobs)
	}
	for _, c := range engine.asked {
		require.NotEqual(t, "export", c[len(c)-1].name)
	}
}

func TestTheTestsOfOneImageHideNothingOfAnother(t *testing.T) {
	failing := func(t *testing.T, edits map[string]string) ([]TestedImage, error) {
		t.Helper()
		c := twoImages(t, edits)
		for name, img := range c.Config.Images {
			img.Test = [][]string{{"sh", "-c", "echo of " + name + "; exit 3"}}
			c.Config.Images[name] = img
		}
		return Publisher{Options: testOptions(t)}.TestImages(t.Context(), c)
	}
	t.Run("tests fail in both", func(t *testing.T) {
		tested, err := failing(t, nil)
		require.Len(t, tested, 2)
		var several *ImagesError
		require.ErrorAs(t, err, &several)
		require.Len(t, several.Failed, 2)
		require.ErrorContains(t, several.Failed[0], "image gateway: run sh")
		require.ErrorContains(t, several.Failed[1], "image worker: run sh")
	})
	t.Run("one of them is refused", func(t *testing.T) {
		tested, err := failing(t, map[string]string{"packages/gateway/package.json": `{"dependencies": {"x": "link:../../../x"}}`})
		require.Len(t, tested, 2, "it is among the images, with no tests")
		require.Equal(t, TestedImage{Name: "gateway", Tests: []TestResult{}}, tested[0])
		require.Equal(t, TestFailed, tested[1].Tests[0].Outcome)
		var several *ImagesError
		require.ErrorAs(t, err, &several)
		require.ErrorContains(t, several.Refused, "packages/gateway/package.json")
		require.Len(t, several.Failed, 1)
		require.ErrorContains(t, several.Failed[0], "image worker: run sh")
	})
}
