package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// buildPath is what the files of a test name as the folder that they were made in.
const buildPath = "/somewhere/build/app"

// mixedTree is a folder with whatever an install may leave: some of it text, some not,
// some of it large. It gives each file's bytes as the image is to have them.
func mixedTree(t *testing.T) (dir string, want map[string][]byte) {
	t.Helper()
	dir, want = t.TempDir(), map[string][]byte{}
	random := rand.New(rand.NewPCG(1, 2))
	write := func(name string, data, inImage []byte, mode fs.FileMode) {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, data, mode))
		want[name] = inImage
	}
	for i := range 600 {
		text := sampleText(random.IntN(9000))
		text = bytes.ReplaceAll(text, []byte{0}, []byte{1})
		write(fmt.Sprintf("node_modules/p%02d/lib/f%03d.js", i%40, i), text, text, 0o644)
	}
	for name, size := range map[string]int{"a": 10, "b": 9000, "large": tarWhole + 999} {
		text := append(bytes.Repeat([]byte("x"), size), buildPath+"/node_modules\n"...)
		moved := append(bytes.Repeat([]byte("x"), size), "/app/node_modules\n"...)
		write("node_modules/text-"+name, text, moved, 0o755)
		binary := append([]byte{0}, text...)
		write("node_modules/binary-"+name, binary, binary, 0o644)
	}
	write("node_modules/empty", nil, nil, 0o644)
	write("node_modules/"+strings.Repeat("long/", 40)+strings.Repeat("n", 120), []byte("x"), []byte("x"), 0o644)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "node_modules/nothing/in"), 0o755))
	require.NoError(t, os.Symlink("../p01", filepath.Join(dir, "node_modules/nothing/link")))
	return dir, want
}

// oneByOne is the tar of a folder, made in the plainest way.
func oneByOne(t *testing.T, dir string, want map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "app/", Mode: 0o755, ModTime: time.Unix(0, 0)}))
	c, err := readDir(dir)
	require.NoError(t, err)
	for _, e := range c.Entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "app/" + e.Path, Mode: 0o644, Size: int64(len(want[e.Path])), ModTime: time.Unix(0, 0)}
		switch {
		case e.Kind == kindDir:
			h = &tar.Header{Typeflag: tar.TypeDir, Name: h.Name + "/", Mode: 0o755, ModTime: h.ModTime}
		case e.Kind == kindLink:
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
		case e.Executable:
			h.Mode = 0o755
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(want[e.Path])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestATarIsTheSameHoweverManyReadItsFiles(t *testing.T) {
	dir, want := mixedTree(t)
	plain := oneByOne(t, dir, want)
	c, err := readDir(dir)
	require.NoError(t, err)
	c, err = normalise(c, buildPath)
	require.NoError(t, err)
	for _, processors := range []int{1, 2, 7} {
		was := runtime.GOMAXPROCS(processors)
		var out bytes.Buffer
		err := writeTar(t.Context(), &out, c)
		runtime.GOMAXPROCS(was)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(plain), sha256.Sum256(out.Bytes()), "%d processors", processors)
	}
}

func TestAFileThatChangesWhileItIsReadIsNamed(t *testing.T) {
	for name, change := range map[string]func(at string) error{
		"it is gone":     os.Remove,
		"it is shorter":  func(at string) error { return os.Truncate(at, 3) },
		"it is a folder": func(at string) error { _ = os.Remove(at); return os.Mkdir(at, 0o755) },
	} {
		for _, file := range []string{"text-b", "text-large", "binary-large"} {
			t.Run(name+": "+file, func(t *testing.T) {
				dir, _ := mixedTree(t)
				c, err := readDir(dir)
				require.NoError(t, err)
				c, err = normalise(c, buildPath)
				require.NoError(t, err)
				require.NoError(t, change(filepath.Join(dir, "node_modules", file)))
				var out bytes.Buffer
				require.ErrorContains(t, writeTar(t.Context(), &out, c), "node_modules/"+file)
			})
		}
	}
}

func TestATarThatNobodyWaitsForEnds(t *testing.T) {
	dir, _ := mixedTree(t)
	c, err := readDir(dir)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, writeTar(ctx, &bytes.Buffer{}, c), context.Canceled)
	require.ErrorIs(t, writeTar(t.Context(), &full{3 << 20}, c), errFull)
}
