package pipeline

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// links are those of the sample's workspace, by which its imports resolve.
const links = "; for p in system-bus/event-contract event-contract/clock; do mkdir -p packages/${p%/*}/node_modules/@busrig; ln -s ../../../${p#*/} packages/${p%/*}/node_modules/@busrig/; done"

// installedImage is an image that an install alone makes.
func installedImage() config.Image {
	img := provenImage()
	img.Run = [][]string{{"pnpm", "install", "--frozen-lockfile"}}
	return img
}

// theInstall is the folder of the one install that a cache keeps.
func theInstall(t *testing.T, opts Options) string {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(opts.CacheDir, "installs", "*"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	return kept[0]
}

// listing is what a folder holds, one line a file.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, p)
		fmt.Fprintln(&out, rel, d.Type())
		return err
	}))
	return out.String()
}

func TestAnInstallIsMovedIntoABuildAndBack(t *testing.T) {
	r := sample.New(t, sample.Options{})
	runs := fakePnpm(t, "echo x > node_modules/.pnpm/made/x"+links)
	opts := testOptions(t)
	build := func(opts Options) Built {
		t.Helper()
		b, err := Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
		require.NoError(t, err)
		return b
	}
	build(opts)
	first := listing(t, theInstall(t, opts))
	require.Contains(t, first, "node_modules/.pnpm/made/x ")
	require.NotContains(t, first, ".ts ", "no source is kept with it")
	made, err := os.Stat(filepath.Join(theInstall(t, opts), "node_modules/.pnpm/made/x"))
	require.NoError(t, err)

	at := worker + "/new/deep/down.ts"
	r.Commit("a file in new folders", map[string]string{at: "export {}\n"})
	require.NotEmpty(t, fileOf(t, build(opts), "app/"+at))
	require.Equal(t, first, listing(t, theInstall(t, opts)), "it is kept as the install left it")
	r.Remove(worker + "/new")
	r.Commit("none of them", nil)
	last := build(opts)
	require.Equal(t, 1, runs())
	again, err := os.Stat(filepath.Join(theInstall(t, opts), "node_modules/.pnpm/made/x"))
	require.NoError(t, err)
	require.True(t, os.SameFile(made, again), "no file is copied")

	cold := opts
	cold.CacheDir, cold.NoCache = t.TempDir(), true
	require.Equal(t, build(cold).Digest, last.Digest)
}

func TestARefusedImageCostsNoSecondInstall(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{worker + "/src/serve.ts": "import './missing'\n"}})
	runs := fakePnpm(t, "true"+links)
	opts := testOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
	require.ErrorContains(t, err, string(release.CodeImportUnresolved))
	require.NotContains(t, listing(t, theInstall(t, opts)), ".ts ")
	r.Commit("mended", map[string]string{worker + "/src/serve.ts": "export {}\n"})
	_, err = Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
	require.NoError(t, err)
	require.Equal(t, 1, runs())
}

func TestAnInstallThatMakesWhatIsCommittedIsKept(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{worker + "/made.txt": "committed\n"}})
	runs := fakePnpm(t, "echo made > packages/system-bus/made.txt"+links)
	opts := testOptions(t)
	for i, text := range []string{"// one\n", "// two\n"} {
		r.Commit("source", map[string]string{worker + "/src/serve.ts": text})
		b, err := Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
		require.NoError(t, err)
		require.Equal(t, text, fileOf(t, b, "app/"+worker+"/src/serve.ts"))
		require.Equal(t, 2+i, runs(), "the first build runs it alone too")
	}
}

// A folder that something has written into is not kept: it is no install's.
func TestATreeThatHoldsMoreThanTheInstallIsNotKept(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "true"+links)
	opts := testOptions(t)
	opts.Progress = func(e release.Event) {
		if strings.Contains(e.Message, "every import of") {
			_ = os.WriteFile(filepath.Join(opts.buildRoot, "app", worker, "src", "litter"), nil, 0o644)
		}
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
	require.ErrorContains(t, err, "keep the install")
	kept, err := os.ReadDir(filepath.Join(opts.CacheDir, "installs"))
	require.NoError(t, err)
	require.Empty(t, kept)
}

// killedRepo names the repository that TestABuildIsKilled builds when the test program
// runs itself, and killedAt the message at which it ends itself.
const (
	killedRepo = "SHIPIT_TEST_KILLED_REPO"
	killedAt   = "SHIPIT_TEST_KILLED_AT"
)

func TestABuildIsKilled(t *testing.T) {
	dir := os.Getenv(killedRepo)
	if dir == "" {
		t.Skip("runs only as a child of TestAKilledBuildLeavesNoPartOfAnInstall")
	}
	opts := Options{Builder: "embedded", CacheDir: filepath.Join(dir, "..", "cache"), buildRoot: filepath.Join(dir, "..", "build")}
	opts.Progress = func(e release.Event) {
		if strings.Contains(e.Message, os.Getenv(killedAt)) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	_, err := Build(context.Background(), resolve(t, dir, installedImage()), opts)
	require.NoError(t, err)
}

func TestAKilledBuildLeavesNoPartOfAnInstall(t *testing.T) {
	for name, tc := range map[string]struct {
		warm bool // an install is kept when the build begins
		at   string
	}{
		"while it installs":                  {false, "half of it"},
		"with a new install in its tree":     {false, "every import of"},
		"with a kept install in its tree":    {true, "every import of"},
		"before it is moved out of the tree": {true, "nothing of what it reads has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample.New(t, sample.Options{})
			fakePnpm(t, "echo half of it; sleep 0.2; echo whole > node_modules/.pnpm/made/whole"+links)
			folder := t.TempDir()
			repo := filepath.Join(folder, "repo")
			r.Git("clone", "-q", "--bare", r.Dir, repo)
			opts := Options{Builder: "embedded", CacheDir: filepath.Join(folder, "cache"), buildRoot: filepath.Join(folder, "build")}
			build := func() Built {
				t.Helper()
				b, err := Build(t.Context(), resolve(t, repo, installedImage()), opts)
				require.NoError(t, err)
				return b
			}
			if tc.warm {
				build()
				require.NoError(t, os.RemoveAll(filepath.Join(opts.CacheDir, "builds")))
			}
			program := exec.Command(os.Args[0], "-test.run=^TestABuildIsKilled$", "-test.v")
			program.Env = append(os.Environ(), killedRepo+"="+repo, killedAt+"="+tc.at)
			out, err := program.CombinedOutput()
			require.ErrorContains(t, err, "killed", "%s", out)

			got := build()
			require.Equal(t, "whole\n", fileOf(t, got, "app/node_modules/.pnpm/made/whole"))
			require.NotContains(t, listing(t, theInstall(t, opts)), ".ts ")
			opts.CacheDir, opts.NoCache = filepath.Join(folder, "cold"), true
			require.Equal(t, build().Digest, got.Digest)
		})
	}
}

func TestAnInstallOnAnotherDiskIsCopied(t *testing.T) {
	const other = "/dev/shm"
	disk, err := os.MkdirTemp(other, "shipit-test-")
	if err != nil {
		t.Skip(other + " is not there")
	}
	t.Cleanup(func() { _ = os.RemoveAll(disk) })
	r := sample.New(t, sample.Options{})
	runs := fakePnpm(t, "true"+links)
	opts := testOptions(t)
	opts.CacheDir = disk
	for _, text := range []string{"// one\n", "// two\n"} {
		r.Commit("source", map[string]string{worker + "/src/serve.ts": text})
		_, err := Build(t.Context(), resolve(t, r.Dir, installedImage()), opts)
		require.NoError(t, err)
		require.NotContains(t, listing(t, theInstall(t, opts)), ".ts ")
	}
	require.Equal(t, 1, runs())
}

func TestTheOldestInstallMakesRoomBeforeOneMoreIsMade(t *testing.T) {
	c := installCache{dir: filepath.Join(t.TempDir(), "installs"), link: true}
	for i := range installsKept + 2 {
		tree := filepath.Join(t.TempDir(), "tree")
		require.NoError(t, os.Mkdir(tree, 0o755))
		found, moved, err := c.take(t.Context(), fmt.Sprint(i), tree)
		require.NoError(t, err)
		require.False(t, found)
		require.True(t, moved)
		require.NoError(t, c.makeRoom())
		require.NoError(t, c.give(fmt.Sprint(i), tree))
	}
	require.Equal(t, []string{"2", "3", "4", "5", "6", "7"}, keptIn(t, c), "the first two have gone")
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(tree, 0o755))
	found, _, err := c.take(t.Context(), "2", tree)
	require.NoError(t, err)
	require.True(t, found)
	found, _, err = c.take(t.Context(), "2", t.TempDir())
	require.NoError(t, err)
	require.False(t, found, "one build has it")
}

// keptIn are the keys of the installs that a cache has.
func keptIn(t *testing.T, c installCache) (keys []string) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(c.dir, "[^.]*"))
	require.NoError(t, err)
	for _, at := range kept {
		keys = append(keys, filepath.Base(at))
	}
	return keys
}

func TestWhatAnEndedBuildHadToRemoveIsRemovedByALaterOne(t *testing.T) {
	c := installCache{dir: filepath.Join(t.TempDir(), "installs"), link: true}
	for i := range installsKept {
		require.NoError(t, os.MkdirAll(filepath.Join(c.dir, fmt.Sprint(i), "a"), 0o755))
	}
	old, err := c.outdated(installsKept - 1)
	require.NoError(t, err)
	require.Len(t, old, 1)
	require.Len(t, keptIn(t, c), installsKept-1, "no build finds it any more")
	require.DirExists(t, old[0], "and shipit ends before it is removed")
	require.NoError(t, c.trim())
	require.NoDirExists(t, old[0])
	require.Len(t, keptIn(t, c), installsKept-1)
}
