package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

func TestABuildRootOfAnotherUserIsNamed(t *testing.T) {
	opts := testOptions(t)
	require.NoError(t, os.WriteFile(opts.buildRoot, nil, 0o644))
	_, err := openStaging(t.Context(), opts)
	require.ErrorContains(t, err, opts.buildRoot)
	require.ErrorContains(t, err, "remove it")
}

func TestABuildFolderThatAnotherUserMadeIsNoObstacle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a folder of another user")
	}
	if !isolates(t.Context()) {
		t.Skip("this machine lets nobody mount a folder of its own")
	}
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", `pwd > packages/system-bus/where; touch "$HOME/used"; ln -s "$PWD/package.json" packages/system-bus/root`}}
	opts := testOptions(t)
	want, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)

	require.NoError(t, os.RemoveAll(opts.buildRoot))
	require.NoError(t, os.Mkdir(opts.buildRoot, 0o777))
	require.NoError(t, os.Lchown(opts.buildRoot, 54321, 54321))
	opts.CacheDir = t.TempDir()
	got, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, want.Digest, got.Digest, "commands see the same folder")
	entries, err := os.ReadDir(opts.buildRoot)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is written where another user can change it")

	opts.shared, opts.CacheDir = true, t.TempDir()
	_, err = Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.ErrorContains(t, err, "another user", "where nothing can be mounted it is named")
}

func TestASecondBuildWaitsForTheFirstWhereNothingCanBeMounted(t *testing.T) {
	opts := testOptions(t)
	opts.shared = true
	first, err := openStaging(t.Context(), opts)
	require.NoError(t, err)
	second := make(chan error, 1)
	go func() {
		w, err := openStaging(t.Context(), opts)
		w.close()
		second <- err
	}()
	select {
	case <-second:
		t.Fatal("the build root was taken twice")
	case <-time.After(100 * time.Millisecond):
	}
	first.close()
	require.NoError(t, <-second)
}

func TestAWaitForTheBuildFolderIsSaidAndCanBeGivenUp(t *testing.T) {
	opts := testOptions(t)
	opts.shared = true
	first, err := openStaging(t.Context(), opts)
	require.NoError(t, err)
	defer first.close()
	ctx, cancel := context.WithCancel(t.Context())
	opts.Progress = func(e release.Event) {
		if strings.Contains(e.Message, fmt.Sprintf("another build uses %s (process %d, since 20", opts.buildRoot, os.Getpid())) {
			cancel()
		}
	}
	_, err = openStaging(ctx, opts)
	require.ErrorIs(t, err, context.Canceled)
}

// childRepo names the repository that TestBuildInAChild builds when the test
// program runs itself as another user.
const childRepo = "SHIPIT_TEST_CHILD_REPO"

func TestBuildInAChild(t *testing.T) {
	dir := os.Getenv(childRepo)
	if dir == "" {
		t.Skip("runs only as a child of TestUserAndUmaskAreNoInputs")
	}
	syscall.Umask(0o077)
	opts := Options{Builder: "embedded", CacheDir: filepath.Join(dir, "..", "cache"), buildRoot: filepath.Join(dir, "..", "build")}
	b, err := Build(context.Background(), resolve(t, dir, umaskImage()), opts)
	require.NoError(t, err)
	fmt.Printf("digest=%s\n", b.Digest)
}

func TestUserAndUmaskAreNoInputs(t *testing.T) {
	r := sample.New(t, sample.Options{})
	// Both builds use one build root, so that only the user and the umask differ.
	shared, err := os.MkdirTemp("", "shipit-users-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	clone := filepath.Join(shared, "repo")
	r.Git("clone", "-q", "--bare", r.Dir, clone)
	opts := testOptions(t)
	opts.buildRoot = filepath.Join(shared, "build")
	want, err := Build(context.Background(), resolve(t, clone, umaskImage()), opts)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(opts.buildRoot))

	program := filepath.Join(shared, "test")
	require.NoError(t, copyFile(os.Args[0], program, 0o755))
	cmd := exec.Command(program, "-test.run=^TestBuildInAChild$", "-test.v")
	cmd.Env = append(os.Environ(), childRepo+"="+clone)
	if os.Geteuid() == 0 {
		const other = 54321
		require.NoError(t, filepath.WalkDir(shared, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, other, other)
		}))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
		cmd.Dir = "/"
	} else {
		t.Log("not root: only the umask differs")
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "digest="+want.Digest+"\n")
}

// umaskImage has commands whose result would show the umask and the user.
func umaskImage() config.Image {
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "mkdir packages/system-bus/made && echo x > packages/system-bus/made/x && umask > packages/system-bus/made/umask && cp -p packages/clock/src/index.ts packages/system-bus/made/"}}
	return img
}

func TestAnExportHasTheModesOfTheCommit(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{worker + "/tool.sh": "#!/bin/sh\n"}})
	c, err := gitContent(context.Background(), resolve(t, r.Dir, workerImage()), true)
	require.NoError(t, err)
	dir := t.TempDir()
	old := syscall.Umask(0o177)
	err = c.export(context.Background(), dir)
	syscall.Umask(old)
	require.NoError(t, err)
	for name, want := range map[string]os.FileMode{"tool.sh": 0o755, "package.json": 0o644, "src": 0o755} {
		info, err := os.Stat(filepath.Join(dir, worker, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), name)
	}
}

func TestABuildFolderBehindALinkIsNotInTheImage(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "pwd -P > packages/system-bus/where; ln -s $(pwd -P)/package.json packages/system-bus/root"}}
	direct, err := Build(context.Background(), resolve(t, r.Dir, img), testOptions(t))
	require.NoError(t, err)
	behind := testOptions(t)
	folder := t.TempDir()
	require.NoError(t, os.Symlink(folder, filepath.Join(folder, "link")))
	behind.buildRoot = filepath.Join(folder, "link", "build")
	linked, err := Build(context.Background(), resolve(t, r.Dir, img), behind)
	require.NoError(t, err)
	require.Equal(t, direct.Digest, linked.Digest)
}
