package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// twoImages is a commit of the sample with two images.
func twoImages(t *testing.T, edits map[string]string) Commit {
	t.Helper()
	repo := sample.New(t, sample.Options{Edits: edits, Config: `app: system-bus
images:
  gateway: {repository: r.test/busrig/gateway, package: packages/gateway, base: scratch}
  worker: {repository: r.test/busrig/worker, package: packages/system-bus, base: scratch}
roles:
  cluster: {image: worker, kubernetes: {namespace: busrig}}
  gateway: {image: gateway, kubernetes: {namespace: busrig}}
`})
	source, err := git.Open(t.Context(), repo.Dir, "HEAD")
	require.NoError(t, err)
	t.Cleanup(func() { _ = source.Close() })
	cfg, err := config.Parse(config.File, []byte(repo.Read(config.File)), "")
	require.NoError(t, err)
	return Commit{Source: source, Config: cfg}
}

func TestTheFaultsOfAllImagesAreNamed(t *testing.T) {
	fault := func(_ Publisher, _ context.Context, in Inputs) (Image, error) {
		return Image{}, &release.Refusal{Findings: []release.Finding{{Code: release.CodeImportUnresolved, Severity: release.Refuses, Object: in.Name}}}
	}
	t.Run("those of their inputs", func(t *testing.T) {
		manifest := `{"dependencies": {"x": "link:../../../x"}}`
		c := twoImages(t, map[string]string{"packages/gateway/package.json": manifest, "packages/system-bus/package.json": manifest})
		_, err := Publisher{}.EachImage(t.Context(), c, fault)
		require.ErrorContains(t, err, "packages/gateway/package.json")
		require.ErrorContains(t, err, "packages/system-bus/package.json")
		require.NotContains(t, err.Error(), "ImportUnresolved", "nothing is built of what cannot be")
	})
	t.Run("those of their builds", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), fault)
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Len(t, refusal.Findings, 2)
	})
	t.Run("one fault names its image", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(p Publisher, ctx context.Context, in Inputs) (Image, error) {
			if in.Name == "gateway" {
				return Image{}, nil
			}
			return fault(p, ctx, in)
		})
		require.ErrorContains(t, err, "image worker: ImportUnresolved")
	})
	t.Run("an error of another kind ends all of it", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(_ Publisher, ctx context.Context, in Inputs) (Image, error) {
			if in.Name == "worker" {
				<-ctx.Done()
				return Image{}, context.Cause(ctx)
			}
			return Image{}, errors.New("no space left on device")
		})
		require.EqualError(t, err, "image gateway: no space left on device")
	})
	t.Run("commands that fail are told of all, beside what is refused", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(p Publisher, ctx context.Context, in Inputs) (Image, error) {
			if in.Name == "gateway" {
				return Image{}, &CommandError{Args: []string{"make"}, Err: errors.New("exit status 2")}
			}
			return fault(p, ctx, in)
		})
		require.ErrorContains(t, err, "image gateway: run make: exit status 2")
		require.ErrorContains(t, err, "image worker: ImportUnresolved")
		var several *ImagesError
		require.ErrorAs(t, err, &several)
		require.Len(t, several.Failed, 1)
		require.Error(t, several.Refused)
	})
	t.Run("so is a service that does not become ready", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(_ Publisher, _ context.Context, in Inputs) (Image, error) {
			if in.Name == "gateway" {
				return Image{}, &ServiceError{Name: "db", Err: errors.New("is not ready")}
			}
			return Image{}, &TestsError{Failed: []*CommandError{{Args: []string{"make"}, Err: errors.New("exit status 2")}}, Of: 2}
		})
		require.ErrorContains(t, err, "image gateway: service db: is not ready")
		require.ErrorContains(t, err, "image worker: 1 of 2 tests failed")
	})
}

// meeting is a command that waits until the commands of both images run.
func meeting(dir, name, other string) []string {
	return []string{"sh", "-ec", `echo begin; touch "` + dir + "/" + name + `"; for i in $(seq 1200); do if test -e "` + dir + "/" + other + `"; then pwd > here; exit 0; fi; sleep 0.05; done; exit 9`}
}

func TestImagesAreBuiltAtTheSameTime(t *testing.T) {
	if atOnce(2) < 2 {
		t.Skip("this machine has too few CPUs or too little memory")
	}
	if !works(t.Context(), mounted(nil, "/", []string{"true"})) {
		t.Skip("nothing can be mounted here")
	}
	c, dir := twoImages(t, nil), t.TempDir()
	for name, other := range map[string]string{"gateway": "worker", "worker": "gateway"} {
		img := c.Config.Images[name]
		img.Run, img.Prove.Skip = [][]string{meeting(dir, name, other)}, true
		c.Config.Images[name] = img
	}
	opts := testOptions(t)
	var mu sync.Mutex
	said := map[string][]string{}
	opts.Progress = func(e release.Event) {
		mu.Lock()
		defer mu.Unlock()
		said[e.Image] = append(said[e.Image], e.Message)
	}
	var built sync.Map
	_, err := Publisher{Options: opts}.EachImage(t.Context(), c, func(p Publisher, ctx context.Context, in Inputs) (Image, error) {
		b, err := Build(ctx, in, p.Options)
		built.Store(in.Name, b)
		return Image{}, err
	})
	require.NoError(t, err)
	for name := range c.Config.Images {
		b, _ := built.Load(name)
		require.Equal(t, "/app\n", fileOf(t, b.(Built), "app/here"), "both see the one build folder")
		require.Contains(t, said[name], "begin", "what is printed is told of its image")
	}
	require.Empty(t, said[""])

	t.Run("a stop ends the commands of all, and nothing of them is left", func(t *testing.T) {
		sleeper := "sleep 3600." + strconv.Itoa(os.Getpid())
		for name, img := range c.Config.Images {
			img.Run = [][]string{{"sh", "-c", "echo begin; " + sleeper}}
			c.Config.Images[name] = img
		}
		ctx, cancel := context.WithCancel(t.Context())
		begun := 0
		opts := testOptions(t)
		opts.Progress = func(e release.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Message == "begin" {
				if begun++; begun == 2 {
					cancel()
				}
			}
		}
		_, err := Publisher{Options: opts}.EachImage(ctx, c, func(p Publisher, ctx context.Context, in Inputs) (Image, error) {
			_, err := Build(ctx, in, p.Options)
			return Image{}, err
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Eventually(t, func() bool { return !running(t, sleeper) }, time.Minute, 10*time.Millisecond)
		for _, root := range []string{opts.buildRoot, filepath.Join(opts.CacheDir, "staging-0")} {
			left, err := os.ReadDir(root)
			require.NoError(t, err)
			require.Len(t, left, 1, "the lock alone is left in %s", root)
		}
	})
}

func TestBuildsAtTheSameTimeShareTheInstallsThatAreKept(t *testing.T) {
	c := installCache{dir: filepath.Join(t.TempDir(), "installs")}
	tree := t.TempDir()
	for i := range 200 {
		require.NoError(t, os.WriteFile(filepath.Join(tree, strconv.Itoa(i)), []byte("x"), 0o644))
	}
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			key := strconv.Itoa(i % 2)
			if err := c.keep(t.Context(), key, tree); err != nil {
				return err
			}
			to, err := os.MkdirTemp(t.TempDir(), "")
			if err != nil {
				return err
			}
			found, err := c.restore(t.Context(), key, to)
			if err != nil || !found {
				return fmt.Errorf("restored %v: %w", found, err)
			}
			entries, err := os.ReadDir(to)
			if len(entries) != 200 {
				return fmt.Errorf("%d files: %w", len(entries), err)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}
