package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// here is this machine; its releases go below root, which is emptied afterwards
// although they are read-only.
func here(t *testing.T) (m *machine, root string) {
	t.Helper()
	m, err := connect(t.Context(), config.Host{}, Options{})
	require.NoError(t, err)
	root = filepath.Join(t.TempDir(), "a root's $(touch pwned) \"folder\" \\ *")
	t.Cleanup(func() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o755)
			}
			return err
		})
	})
	return m, root
}

func roleOf(t *testing.T, d definition) release.Role {
	t.Helper()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	return release.Role{Name: "host", Target: release.TargetHost, Repository: "registry.test/worker", Digest: d.Digest, Objects: []json.RawMessage{raw}}
}

func inRoot(d definition, root string) definition {
	d.Root = root
	d.Workdir = d.releaseDir()
	return d
}

func contentOf(layers ...layer) content {
	return content{Layers: func(context.Context, string, string) ([]layer, error) { return layers, nil }}
}

func hostileTree(t *testing.T) layer {
	var entries []tarred
	for _, name := range hostile() {
		if name != "" && !strings.Contains(name, "\n") {
			entries = append(entries, file("tree/"+name, "content of "+name), symlink("links/"+name, "../tree/"+name))
		}
	}
	run := file("bin/run", "#!/bin/sh\n")
	run.h.Mode = 0o755
	return layerOf(t, append(entries, run)...)
}

func staged(t *testing.T, root string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(strings.ReplaceAll(strings.ReplaceAll(root, `\`, `\\`), "*", `\*`), "staging", "*"))
	require.NoError(t, err)
	return list
}

func TestContentIsPutInPlaceAsItWasSent(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	require.NoError(t, m.prepare(t.Context(), roleOf(t, d), contentOf(hostileTree(t))))
	for _, name := range hostile() {
		if name == "" || strings.Contains(name, "\n") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(d.releaseDir(), "links", name))
		require.NoError(t, err, "the link leads to the file")
		require.Equal(t, "content of "+name, string(body))
	}
	err := filepath.WalkDir(d.releaseDir(), func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		if info.Mode()&fs.ModeSymlink == 0 {
			require.Zero(t, info.Mode().Perm()&0o222, "%s may be written to", path)
		}
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, staged(t, root))

	t.Run("and what is there is not fetched again", func(t *testing.T) {
		never := content{Layers: func(context.Context, string, string) ([]layer, error) { return nil, errors.New("asked for layers") }}
		require.NoError(t, m.prepare(t.Context(), roleOf(t, d), never))
	})
}

func TestContentThatWasChangedIsSeenAndPutRight(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a file with another content": func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir+"/bin/run", 0o755))
			require.NoError(t, os.WriteFile(dir+"/bin/run", []byte("evil"), 0o755))
		},
		"a file that is gone":   func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/bin/run")) },
		"a file that was added": func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(dir+"/bin/new", nil, 0o644)) },
		"a link that leads elsewhere": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir+"/bin/link"))
			require.NoError(t, os.Symlink("/etc/passwd", dir+"/bin/link"))
		},
		"a program that cannot be run": func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir+"/bin/run", 0o444)) },
		"a folder that was added":      func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir+"/bin/sub", 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			m, root := here(t)
			d := inRoot(worker(), root)
			run := file("bin/run", "#!/bin/sh\n")
			run.h.Mode = 0o755
			content := contentOf(layerOf(t, run, symlink("bin/link", "run")))
			require.NoError(t, m.prepare(t.Context(), roleOf(t, d), content))
			require.NoError(t, m.verify(t.Context(), d.releaseDir()))

			require.NoError(t, os.Chmod(d.releaseDir()+"/bin", 0o755))
			spoil(t, d.releaseDir())
			var damaged *damagedError
			require.ErrorAs(t, m.verify(t.Context(), d.releaseDir()), &damaged)
			require.Contains(t, damaged.Error(), "bin/", "what differs is named")

			require.NoError(t, m.prepare(t.Context(), roleOf(t, d), content))
			require.NoError(t, m.verify(t.Context(), d.releaseDir()))
			require.Empty(t, staged(t, root))
		})
	}
}

func TestAFaultyLayerLeavesNothing(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	bad := layerOf(t, file("a", "a"))
	bad.DiffID = "sha256:" + strings.Repeat("0", 64)
	var fault *layerError
	require.ErrorAs(t, m.prepare(t.Context(), roleOf(t, d), contentOf(bad)), &fault)
	require.NoDirExists(t, d.releaseDir())
	require.Empty(t, staged(t, root))

	broken := layerOf(t, file("a", "a"))
	broken.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("registry went away") }
	require.ErrorContains(t, m.prepare(t.Context(), roleOf(t, d), contentOf(broken)), "registry went away")
	require.Empty(t, staged(t, root))
}

func TestWhatAKilledRunStagedIsRemoved(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	left := filepath.Join(root, "staging", strings.Repeat("f", 64)+".otherrun.x", "sub")
	own := filepath.Join(root, "staging", strings.Repeat("e", 64)+"."+m.run+".x")
	require.NoError(t, os.MkdirAll(left, 0o755))
	require.NoError(t, os.MkdirAll(own, 0o755))
	require.NoError(t, os.Chmod(left, 0o555))
	require.NoError(t, m.prepare(t.Context(), roleOf(t, d), contentOf(hostileTree(t))))
	require.Equal(t, []string{own}, staged(t, root), "another role of this run unpacks there")
}

func TestPruneRemovesOnlyWhatNobodyNeeds(t *testing.T) {
	m, root := here(t)
	var digests []string
	for _, c := range "abcde" {
		d := worker()
		d.Digest = "sha256:" + strings.Repeat(string(c), 64)
		d = inRoot(d, root)
		digests = append(digests, d.Digest)
		require.NoError(t, m.prepare(t.Context(), roleOf(t, d), contentOf(hostileTree(t))))
	}
	require.NoError(t, os.Symlink(filepath.Join(root, "releases", digests[1][7:]), filepath.Join(root, "current", "host")))
	removed, err := m.prune(t.Context(), keep{root: root, digests: digests[2:4], newest: 0})
	require.NoError(t, err)
	slices.Sort(removed)
	require.Equal(t, []string{digests[0], digests[4]}, removed)
	removed, err = m.prune(t.Context(), keep{root: root, digests: digests[2:4]})
	require.NoError(t, err)
	require.Empty(t, removed)
	require.Empty(t, staged(t, root))
}

func TestSeveralRolesUnpackOneImageOnce(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	content := contentOf(hostileTree(t))
	role := roleOf(t, d)
	errs := make(chan error, 4)
	for range 4 {
		go func() { errs <- m.prepare(t.Context(), role, content) }()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.Empty(t, staged(t, root))
}

func writeFile(path, body string) error { return os.WriteFile(path, []byte(body), 0o600) }

// shortened ends the input of tar early, at the end of a whole entry: tar itself
// takes that for the end.
type shortened struct {
	local
	blocks int64
}

func (s shortened) run(ctx context.Context, c command) (result, error) {
	if c.Stdin != nil {
		c.Stdin = io.LimitReader(c.Stdin, s.blocks*512)
	}
	return s.local.run(ctx, c)
}

func TestAStreamThatEndsEarlyIsNotPutInPlace(t *testing.T) {
	layer := layerOf(t, file("a", "a"), file("b", "b"))
	for _, c := range []struct {
		name   string
		blocks int64
		reason string
	}{
		{"within the files", 2, "ended early"},  // ./a: header, body
		{"before the hashes", 7, "ended early"}, // ./a, ./b, .shipit/, entries
		{"before its last block", 9, ""},        // the hashes are there: nothing is missing
	} {
		t.Run(c.name, func(t *testing.T) {
			m, root := here(t)
			m.via = shortened{blocks: c.blocks}
			d := inRoot(worker(), root)
			err := m.prepare(t.Context(), roleOf(t, d), contentOf(layer))
			if c.reason == "" {
				require.NoError(t, err)
				require.NoError(t, m.verify(t.Context(), d.releaseDir()))
				return
			}
			require.ErrorContains(t, err, c.reason)
			require.NoDirExists(t, d.releaseDir())
			require.Empty(t, staged(t, root))
		})
	}
}

func TestAUnitThatEndsEarlyIsNotInstalled(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	d.Dir, d.Content = filepath.Join(root, "system"), strings.Repeat("# a long unit\n", 100)
	via := m.via
	m.via = shortened{blocks: 1}
	_, err := m.change(t.Context(), d.write("install"), m.installing(d, state{}))
	require.ErrorContains(t, err, "the unit ended early")
	require.NoFileExists(t, d.unitFile(m.home))
	require.NoFileExists(t, d.kept())
	m.via = via
	_, err = m.change(t.Context(), d.write("install"), m.installing(d, state{}))
	require.NoError(t, err)
	require.FileExists(t, d.unitFile(m.home))
}
