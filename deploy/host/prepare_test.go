package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
)

// here is this machine; its releases go below root, which is emptied afterwards
// although they are read-only.
func here(t *testing.T) (m runner, root string) {
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

func roleOf(t *testing.T, d service.Definition) release.Role {
	t.Helper()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	return release.Role{
		Name: cmp.Or(d.Role, "host"), Target: release.TargetHost, Repository: "registry.test/worker", Digest: d.Digest, Objects: []json.RawMessage{raw},
	}
}

func inRoot(d service.Definition, root string) service.Definition {
	d.Root = root
	d.Workdir = d.ReleaseDir()
	return d
}

// prepared prepares a role; what is learned of it is left out.
func (r runner) prepared(ctx context.Context, role release.Role, layers treeOf) error {
	_, err := r.prepare(ctx, role, layers)
	return err
}

func contentOf(layers ...content.Layer) treeOf {
	return treesOf(func(context.Context, string, string) ([]content.Layer, error) { return layers, nil })
}

func treesOf(layers func(context.Context, string, string) ([]content.Layer, error)) treeOf {
	return content.NewTrees(layers).Open
}

func layerOf(t *testing.T, entries ...hosttest.Entry) content.Layer {
	t.Helper()
	layer, diffID := hosttest.Tar(t, entries...)
	return content.Layer{
		DiffID: diffID,
		Open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
	}
}

func hostileTree(t *testing.T) content.Layer {
	var entries []hosttest.Entry
	for _, name := range hosttest.Hostile() {
		if name != "" && !strings.Contains(name, "\n") {
			entries = append(entries, hosttest.File("tree/"+name, "content of "+name), hosttest.Symlink("links/"+name, "../tree/"+name))
		}
	}
	run := hosttest.Program("bin/run", "#!/bin/sh\n")
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
	role, err := m.prepare(t.Context(), roleOf(t, d), contentOf(hostileTree(t)))
	require.NoError(t, err)
	for _, name := range hosttest.Hostile() {
		if name == "" || strings.Contains(name, "\n") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(d.ReleaseDir(), "links", name))
		require.NoError(t, err, "the link leads to the file")
		require.Equal(t, "content of "+name, string(body))
	}
	err = filepath.WalkDir(d.ReleaseDir(), func(path string, e fs.DirEntry, err error) error {
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

	t.Run("and what a record tells of is not fetched again", func(t *testing.T) {
		never := func(context.Context, string, string) ([]content.Layer, error) {
			t.Error("asked for layers")
			return nil, errors.New("asked for layers")
		}
		require.NoError(t, m.prepared(t.Context(), role, treesOf(never)))
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
			run := hosttest.Program("bin/run", "#!/bin/sh\n")
			layers := contentOf(layerOf(t, run, hosttest.Symlink("bin/link", "run")))
			require.NoError(t, m.prepared(t.Context(), roleOf(t, d), layers))
			require.NoError(t, m.store(d).Verify(t.Context(), content.Image{Digest: d.Digest}, true))

			require.NoError(t, os.Chmod(d.ReleaseDir()+"/bin", 0o755))
			spoil(t, d.ReleaseDir())
			var damaged *content.DamagedError
			require.ErrorAs(t, m.store(d).Verify(t.Context(), content.Image{Digest: d.Digest}, true), &damaged)
			require.Contains(t, damaged.Error(), "bin/", "what differs is named")

			require.NoError(t, m.prepared(t.Context(), roleOf(t, d), layers))
			require.NoError(t, m.store(d).Verify(t.Context(), content.Image{Digest: d.Digest}, true))
			require.Empty(t, staged(t, root))
		})
	}
}

// changed is a version of the hostile tree in which one file is another and one is a
// program.
func changed(t *testing.T, digest, text string) (service.Definition, treeOf) {
	t.Helper()
	d := worker()
	d.Role, d.Digest = "host", "sha256:"+strings.Repeat(digest, 64)
	entries := []hosttest.Entry{hosttest.File("text", text), hosttest.Program("same", "echo one")}
	for _, name := range hosttest.Hostile() {
		if name != "" && !strings.Contains(name, "\n") {
			entries = append(entries, hosttest.File("tree/"+name, "content of "+name))
		}
	}
	return d, contentOf(layerOf(t, entries...))
}

func TestWhatTheReleaseBeforeHasIsCopiedAndNotSent(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, before string){
		"as it is": nil,
		"but not what was changed there": func(t *testing.T, before string) {
			require.NoError(t, os.Chmod(before+"/same", 0o755))
			require.NoError(t, os.WriteFile(before+"/same", []byte("echo evil"), 0o755))
		},
		"but not what is gone there": func(t *testing.T, before string) {
			require.NoError(t, os.Chmod(before+"/tree", 0o755))
			require.NoError(t, os.Remove(before+"/tree/plain"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, root := here(t)
			first, tree := changed(t, "a", "one")
			first = inRoot(first, root)
			require.NoError(t, m.prepared(t.Context(), roleOf(t, first), tree))
			require.NoError(t, os.Symlink(first.ReleaseDir(), first.Link()))
			if spoil != nil {
				spoil(t, first.ReleaseDir())
			}
			second, tree := changed(t, "b", "two")
			second = inRoot(second, root)
			var writes []release.Write
			ctx := release.WithGuard(t.Context(), release.Guard{After: func(w release.Write) { writes = append(writes, w) }})
			require.NoError(t, m.prepared(ctx, roleOf(t, second), tree))
			require.Contains(t, writes, release.Write("host copy"))
			require.NoError(t, m.store(second).Verify(t.Context(), content.Image{Digest: second.Digest}, true))
			for file, body := range map[string]string{"text": "two", "same": "echo one", "tree/plain": "content of plain", "tree/-rf": "content of -rf"} {
				read, err := os.ReadFile(filepath.Join(second.ReleaseDir(), file))
				require.NoError(t, err)
				require.Equal(t, body, string(read))
			}
			_, info, err := sameFile(first.ReleaseDir()+"/text", second.ReleaseDir()+"/text")
			require.NoError(t, err)
			require.Zero(t, info.Mode().Perm()&0o222)
			same, _, err := sameFile(first.ReleaseDir()+"/same", second.ReleaseDir()+"/same")
			require.NoError(t, err)
			require.False(t, same, "what is changed in one release is not changed in the other")
			require.Empty(t, staged(t, root))
		})
	}
}

// sameFile reports whether two names are of one file, and tells of the second.
func sameFile(a, b string) (bool, fs.FileInfo, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, nil, err
	}
	other, err := os.Stat(b)
	if err != nil {
		return false, nil, err
	}
	return os.SameFile(one, other), other, nil
}

func TestAFaultyLayerLeavesNothing(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	bad := layerOf(t, hosttest.File("a", "a"))
	bad.DiffID = "sha256:" + strings.Repeat("0", 64)
	require.ErrorContains(t, m.prepared(t.Context(), roleOf(t, d), contentOf(bad)), "layer sha256:0000")
	require.NoDirExists(t, d.ReleaseDir())
	require.Empty(t, staged(t, root))

	broken := layerOf(t, hosttest.File("a", "a"))
	broken.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("registry went away") }
	require.ErrorContains(t, m.prepared(t.Context(), roleOf(t, d), contentOf(broken)), "registry went away")
	require.Empty(t, staged(t, root))
}

func TestWhatAKilledRunStagedIsRemoved(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	left := filepath.Join(root, "staging", strings.Repeat("f", 64)+".otherrun.x", "sub")
	own := filepath.Join(root, "staging", strings.Repeat("e", 64)+"."+m.Run+".x")
	require.NoError(t, os.MkdirAll(left, 0o755))
	require.NoError(t, os.MkdirAll(own, 0o755))
	require.NoError(t, os.Chmod(left, 0o555))
	require.NoError(t, m.prepared(t.Context(), roleOf(t, d), contentOf(hostileTree(t))))
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
		require.NoError(t, m.prepared(t.Context(), roleOf(t, d), contentOf(hostileTree(t))))
	}
	require.NoError(t, os.Symlink(filepath.Join(root, "releases", digests[1][7:]), filepath.Join(root, "current", "host")))
	removed, err := content.Store{Machine: m.Machine, Root: root}.Prune(t.Context(), content.Keep{Digests: digests[2:4]})
	require.NoError(t, err)
	slices.Sort(removed)
	require.Equal(t, []string{digests[0], digests[4]}, removed)
	removed, err = content.Store{Machine: m.Machine, Root: root}.Prune(t.Context(), content.Keep{Digests: digests[2:4]})
	require.NoError(t, err)
	require.Empty(t, removed)
	require.Empty(t, staged(t, root))
}

func TestSeveralRolesUnpackOneImageOnce(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	layers := contentOf(hostileTree(t))
	role := roleOf(t, d)
	errs := make(chan error, 4)
	for range 4 {
		go func() { errs <- m.prepared(t.Context(), role, layers) }()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.Empty(t, staged(t, root))
}

func writeFile(path, body string) error { return os.WriteFile(path, []byte(body), 0o600) }

// shorten ends the input of every command of this machine after so many blocks, at
// the end of a whole entry of a tar: tar itself takes that for the end. It returns
// what lets commands read all of their input again.
func shorten(t *testing.T, blocks int) (undo func()) {
	t.Helper()
	bin, path := t.TempDir(), os.Getenv("PATH")
	wrapper := fmt.Sprintf("#!/bin/sh\nhead -c %d | exec /bin/sh \"$@\"\n", blocks*512)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sh"), []byte(wrapper), 0o755))
	t.Setenv("PATH", bin+":"+path)
	return func() { t.Setenv("PATH", path) }
}

func TestAStreamThatEndsEarlyIsNotPutInPlace(t *testing.T) {
	layer := layerOf(t, hosttest.File("a", "a"), hosttest.File("b", "b"))
	for _, c := range []struct {
		name   string
		blocks int
		reason string
	}{
		{"within the files", 2, "ended early"},  // ./a: header, body
		{"before the hashes", 7, "ended early"}, // ./a, ./b, .shipit/, entries
		{"before its last block", 9, ""},        // the hashes are there: nothing is missing
	} {
		t.Run(c.name, func(t *testing.T) {
			m, root := here(t)
			undo := shorten(t, c.blocks)
			d := inRoot(worker(), root)
			err := m.prepared(t.Context(), roleOf(t, d), contentOf(layer))
			undo()
			if c.reason == "" {
				require.NoError(t, err)
				require.NoError(t, m.store(d).Verify(t.Context(), content.Image{Digest: d.Digest}, true))
				return
			}
			require.ErrorContains(t, err, c.reason)
			require.NoDirExists(t, d.ReleaseDir())
			require.Empty(t, staged(t, root))
		})
	}
}

func TestAUnitThatEndsEarlyIsNotInstalled(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	d.Dir, d.Content = filepath.Join(root, "system"), strings.Repeat("# a long unit\n", 100)
	undo := shorten(t, 1)
	_, err := m.Change(t.Context(), write(d, "install"), m.installing(d, service.State{}))
	require.ErrorContains(t, err, "the unit ended early")
	require.NoFileExists(t, d.UnitFile(m.Home))
	require.NoFileExists(t, d.UnitCopy())
	undo()
	_, err = m.Change(t.Context(), write(d, "install"), m.installing(d, service.State{}))
	require.NoError(t, err)
	require.FileExists(t, d.UnitFile(m.Home))
}

// forge puts other content in the place of the release directory, with lists of its
// own that fit.
func forge(t *testing.T, m runner, d service.Definition) {
	t.Helper()
	other := d
	other.Digest = "sha256:" + strings.Repeat("f", 64)
	other.Workdir = other.ReleaseDir()
	require.NoError(t, m.prepared(t.Context(), roleOf(t, other), contentOf(layerOf(t, hosttest.File("forged", "evil")))))
	if _, err := os.Stat(d.ReleaseDir()); err == nil {
		require.NoError(t, os.Chmod(d.ReleaseDir(), 0o755))
		require.NoError(t, os.Rename(d.ReleaseDir(), d.ReleaseDir()+".was"))
	}
	require.NoError(t, os.Chmod(other.ReleaseDir(), 0o755))
	require.NoError(t, os.Rename(other.ReleaseDir(), d.ReleaseDir()))
	require.NoError(t, os.Chmod(d.ReleaseDir(), 0o555))
}

func TestAForgedReleaseDirectoryIsNotTrustedForItsOwnLists(t *testing.T) {
	layers := contentOf(hostileTree(t))
	away := treesOf(func(context.Context, string, string) ([]content.Layer, error) {
		return nil, errors.New("the registry is away")
	})
	t.Run("one that was there before the first release of the image", func(t *testing.T) {
		m, root := here(t)
		d := inRoot(worker(), root)
		forge(t, m, d)
		require.NoError(t, m.prepared(t.Context(), roleOf(t, d), layers))
		require.NoFileExists(t, d.ReleaseDir()+"/forged")
		require.FileExists(t, d.ReleaseDir()+"/bin/run")
	})
	t.Run("one that replaced what a record tells, with the registry away", func(t *testing.T) {
		m, root := here(t)
		d := inRoot(worker(), root)
		role, err := m.prepare(t.Context(), roleOf(t, d), layers)
		require.NoError(t, err)
		require.Regexp(t, "^"+m.Platform+":[0-9a-f]{64}$", role.Files)
		require.NoError(t, m.prepared(t.Context(), role, away), "a way back needs the record and what the machine holds")
		forge(t, m, d)
		require.ErrorContains(t, m.prepared(t.Context(), role, away), "the registry is away")
		for _, whole := range []bool{false, true} {
			note, err := m.contentNote(t.Context(), d, role, observing{whole: whole, tree: away})
			require.NoError(t, err)
			require.Contains(t, note, "it is not what the image holds", "whole: %t", whole)
		}
		require.NoError(t, m.prepared(t.Context(), role, layers))
		require.NoFileExists(t, d.ReleaseDir()+"/forged")
	})
	t.Run("one that no record tells of is compared with the image by verify", func(t *testing.T) {
		m, root := here(t)
		d := inRoot(worker(), root)
		forge(t, m, d)
		note, err := m.contentNote(t.Context(), d, roleOf(t, d), observing{whole: true, tree: layers})
		require.NoError(t, err)
		require.Contains(t, note, "it is not what the image holds")
	})
	t.Run("what was learned on another platform is learned anew", func(t *testing.T) {
		m, root := here(t)
		role := roleOf(t, inRoot(worker(), root))
		role.Files = "plan9/mips:" + strings.Repeat("0", 64)
		role, err := m.prepare(t.Context(), role, layers)
		require.NoError(t, err)
		require.Regexp(t, "^"+m.Platform+":", role.Files)
	})
}
