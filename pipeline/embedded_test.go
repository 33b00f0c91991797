package pipeline

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// fileOf is the content of one file of an image.
func fileOf(t *testing.T, b Built, name string) string {
	t.Helper()
	layers, err := b.Artifact.(v1.Image).Layers()
	require.NoError(t, err)
	for _, l := range layers {
		r, err := l.Uncompressed()
		require.NoError(t, err)
		data, ok := untarOne(t, r, name)
		r.Close()
		if ok {
			return data
		}
	}
	t.Fatalf("%s is not in the image", name)
	return ""
}

func untarOne(t *testing.T, r io.Reader, name string) (string, bool) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return "", false
		}
		require.NoError(t, err)
		if h.Name == name {
			data, err := io.ReadAll(tr)
			require.NoError(t, err)
			return string(data), true
		}
	}
}

func TestCommandsRunInACleanTree(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("SECRET_TOKEN", "s3cret-value")
	t.Setenv("OTHER", "not passed on")
	t.Setenv("NPM_CONFIG_REGISTRY", "https://registry.test")
	require.NoError(t, os.WriteFile(filepath.Join(r.Dir, "untracked"), nil, 0o644))
	img := workerImage()
	img.Secrets = []string{"SECRET_TOKEN"}
	img.Run = [][]string{{"sh", "-c", `{ ls -A; umask; echo "$OTHER|${#SECRET_TOKEN}|$NPM_CONFIG_REGISTRY|$CI|$SOURCE_DATE_EPOCH"; } > packages/system-bus/seen; echo token=$SECRET_TOKEN`}}
	opts := testOptions(t)
	var lines []string
	opts.Progress = func(e release.Event) { lines = append(lines, e.Message) }
	b, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, "package.json\npackages\npnpm-lock.yaml\npnpm-workspace.yaml\n0022\n|12|https://registry.test|1|0\n",
		fileOf(t, b, "app/packages/system-bus/seen"))
	require.Contains(t, lines, "token=***")
	require.NotContains(t, strings.Join(lines, "\n"), "s3cret-value")
	require.NoDirExists(t, filepath.Join(opts.buildRoot, "app"), "the tree is gone afterwards")
}

func TestACommandThatFailsIsNamedWithItsLastLines(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("SECRET_TOKEN", "s3cret-value")
	img := workerImage()
	img.Secrets = []string{"SECRET_TOKEN"}
	img.Run = [][]string{{"sh", "-c", "seq 100; echo cannot use $SECRET_TOKEN >&2; exit 7"}}
	_, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
	var failed *CommandError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Tail, process.TailLines)
	require.Equal(t, "cannot use ***", failed.Tail[process.TailLines-1])
	require.ErrorContains(t, err, "exit status 7")
	require.NotContains(t, err.Error(), "s3cret-value")
}

func TestAProgramThatIsNotThereIsSaid(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for name, tc := range map[string]struct {
		run  []string
		hint string
	}{
		"the command's own":     {[]string{"no-such-pnpm", "install"}, "no-such-pnpm, or a program that it starts, is not on the PATH of this machine"},
		"one of a shell's line": {[]string{"sh", "-c", "no-such-pnpm install"}, "a program that it starts is not on the PATH of this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			img := workerImage()
			img.Run = [][]string{tc.run}
			_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			var failed *CommandError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, "no-such-pnpm: not found")
			require.Equal(t, tc.hint, failed.Hint())
		})
	}
}

func TestACommandThatFailsNamesWhatIsForDevelopmentOnlyAndNotThere(t *testing.T) {
	edit := func(name string, manifest string) map[string]string { return map[string]string{name: manifest} }
	failed := func(t *testing.T, edits map[string]string) *CommandError {
		t.Helper()
		r := sample.New(t, sample.Options{Edits: edits})
		r.Remove("pnpm-lock.yaml")
		img := workerImage()
		img.Run = [][]string{{"false"}}
		_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
		var failed *CommandError
		require.ErrorAs(t, err, &failed)
		return failed
	}
	got := failed(t, edit(worker+"/package.json", `{"name":"@busrig/system-bus","dependencies":{"@busrig/event-contract":"workspace:*"},"devDependencies":{"@busrig/gateway":"workspace:*","@busrig/clock":"workspace:*"}}`))
	require.Contains(t, got.Hint(), "@busrig/gateway (packages/gateway)")
	require.Contains(t, got.Hint(), worker+"/package.json")
	require.NotContains(t, got.Hint(), "@busrig/clock", "it is in the closure by another way")
	require.Empty(t, failed(t, nil).Hint())
}

func TestTestsMustPassAndLeaveNothing(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Test = [][]string{{"sh", "-c", "test -e packages/system-bus/node_modules/@busrig/event-contract/package.json && touch packages/system-bus/litter"}}
	b := buildImage(t, r.Dir, img)
	files, _ := headers(t, b.Artifact.(v1.Image))
	require.NotContains(t, files, "app/packages/system-bus/litter")

	plain := workerImage()
	require.Equal(t, buildImage(t, r.Dir, plain).Digest, b.Digest, "tests do not change the image")

	img.Test = [][]string{{"false"}}
	_, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
	var failed *CommandError
	require.ErrorAs(t, err, &failed)
}

func TestACancelledBuildEndsItsCommands(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	// The command's numbers of processes are its own, so its child is found by what it sleeps.
	sleeper := fmt.Sprintf("sleep 600.%d", os.Getpid())
	img.Run = [][]string{{"sh", "-c", sleeper + " & echo started; wait"}}
	opts := testOptions(t)
	ctx, cancel := context.WithCancel(context.Background())
	started := false
	opts.Progress = func(e release.Event) {
		if e.Message == "started" {
			started = assert.Eventually(t, func() bool { return running(t, sleeper) }, time.Minute, 10*time.Millisecond)
			cancel()
		}
	}
	_, err := Build(ctx, resolve(t, r.Dir, img), opts)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, started)
	require.Eventually(t, func() bool { return !running(t, sleeper) }, time.Minute, 10*time.Millisecond, "the command's own child must not be left")
}

// running reports whether a process has that command line.
func running(t *testing.T, commandLine string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		data, _ := os.ReadFile(file) // it may have ended
		if strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ") == commandLine {
			return true
		}
	}
	return false
}

// ended reports whether a process is gone, or only waits to be collected.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestPackageManagersLeaveNoTrace(t *testing.T) {
	r := sample.New(t, sample.Options{})
	const nm = "packages/system-bus/node_modules"
	script := func(body string) [][]string {
		return [][]string{{"sh", "-ec", "mkdir -p " + nm + "/.bin node_modules/.pnpm; " + body}}
	}
	t.Run("no bookkeeping", func(t *testing.T) {
		img := workerImage()
		img.Run = script("mkdir node_modules/.cache; for f in .modules.yaml .pnpm-workspace-state.json .pnpm-workspace-state-v1.json .package-lock.json .cache/x kept; do date +%N > node_modules/$f; done; mkdir .pnpm-store; touch .pnpm-store/x")
		files, _ := headers(t, buildImage(t, r.Dir, img).Artifact.(v1.Image))
		require.Contains(t, files, "app/node_modules/kept")
		for name := range files {
			require.NotRegexp(t, `modules\.yaml|workspace-state|package-lock|\.cache|pnpm-store`, name)
		}
	})
	t.Run("no folder of the build, in shims or bundles", func(t *testing.T) {
		img := workerImage()
		img.Run = script(`printf '#!/bin/sh\nexport NODE_PATH=%s/node_modules\n' "$PWD" > ` + nm + `/.bin/tool; chmod 755 ` + nm + `/.bin/tool; echo "var __dirname = \"$PWD/src\"" > packages/system-bus/bundle.js`)
		b := buildImage(t, r.Dir, img)
		require.Equal(t, "#!/bin/sh\nexport NODE_PATH=/app/node_modules\n", fileOf(t, b, "app/"+nm+"/.bin/tool"))
		require.Equal(t, "var __dirname = \"/app/src\"\n", fileOf(t, b, "app/packages/system-bus/bundle.js"))
		files, _ := headers(t, b.Artifact.(v1.Image))
		require.EqualValues(t, 0o755, files["app/"+nm+"/.bin/tool"].Mode)
	})
	t.Run("absolute links into the tree become relative", func(t *testing.T) {
		img := workerImage()
		img.Run = script(`ln -s "$PWD/packages/clock" ` + nm + `/clock`)
		files, _ := headers(t, buildImage(t, r.Dir, img).Artifact.(v1.Image))
		require.Equal(t, "../../clock", files["app/"+nm+"/clock"].Linkname)
	})
	for _, target := range []string{"/usr/lib/x", "../../../../x"} {
		t.Run("a link to "+target+" is refused by name", func(t *testing.T) {
			img := workerImage()
			img.Run = script(`ln -s ` + target + ` ` + nm + `/out`)
			_, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
			require.ErrorContains(t, err, nm+"/out")
			require.ErrorContains(t, err, target)
		})
	}
	t.Run("a socket or pipe is refused by name", func(t *testing.T) {
		img := workerImage()
		img.Run = script("mkfifo " + nm + "/pipe")
		_, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
		require.ErrorContains(t, err, nm+"/pipe")
	})
	t.Run("a package for another platform is refused by name", func(t *testing.T) {
		img := workerImage()
		img.Platforms = []string{"linux/amd64", "linux/arm64"}
		img.Run = script(`mkdir node_modules/.pnpm/x; echo '{"name":"@esbuild/linux-x64","os":["linux"],"cpu":["x64"]}' > node_modules/.pnpm/x/package.json`)
		_, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
		require.ErrorContains(t, err, "@esbuild/linux-x64")
		require.ErrorContains(t, err, "linux/arm64")
	})
}

func TestACommandThatPrintsNothingIsNamed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	dir := t.TempDir()
	script := "until test -e " + dir + "/speak; do sleep 0.02; done; echo heard; until test -e " + dir + "/end; do sleep 0.02; done"
	img.Run = [][]string{{"sh", "-c", script}}
	opts := testOptions(t)
	opts.silence = 500 * time.Millisecond
	var before, after []time.Duration
	heard := false
	opts.Progress = func(e release.Event) {
		text, silent := strings.CutPrefix(e.Message, "`sh -c "+script+"` has printed nothing for ")
		quiet, _, _ := strings.Cut(text, ";")
		long, err := time.ParseDuration(quiet)
		switch {
		case e.Message == "heard":
			heard = true
			return
		case !silent:
			return
		case heard:
			after = append(after, long)
			err = errors.Join(err, os.WriteFile(dir+"/end", nil, 0o600))
		default:
			before = append(before, long)
			if long >= 3*opts.silence {
				err = errors.Join(err, os.WriteFile(dir+"/speak", nil, 0o600))
			}
		}
		require.NoError(t, err)
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.NotEmpty(t, before)
	require.IsIncreasing(t, before, "each time that it was silent for as long")
	require.NotEmpty(t, after)
	require.Less(t, after[0], 3*opts.silence, "what it prints ends its silence")
	for _, long := range append(before, after...) {
		require.Zero(t, long%opts.silence, long)
	}
}
