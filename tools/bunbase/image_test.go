package bunbase

import (
	"archive/tar"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"
)

func base(t *testing.T) v1.Image {
	t.Helper()
	if _, err := findLibraries(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm, which fetches bun, is not installed")
	}
	img, err := Image(t.Context())
	require.NoError(t, err)
	return img
}

// unpack writes the image's root file system to dir.
func unpack(t *testing.T, img v1.Image, dir string) {
	t.Helper()
	flat := mutate.Extract(img)
	defer flat.Close()
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(dir, h.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch h.Typeflag {
		case tar.TypeDir:
			require.NoError(t, os.MkdirAll(path, 0o755))
		case tar.TypeSymlink:
			require.NoError(t, os.Symlink(h.Linkname, path))
		default:
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, os.FileMode(h.Mode))
			require.NoError(t, err)
			_, err = io.Copy(f, r)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
}

func TestImage(t *testing.T) {
	img := base(t)
	t.Run("putting it together again gives the same digest", func(t *testing.T) {
		libraries, err := findLibraries()
		require.NoError(t, err)
		bun, err := Bun(t.Context())
		require.NoError(t, err)
		again, err := assemble(rootFS(libraries), tree{{name: "usr/local/bin/bunx", link: "bun"}, {name: "usr/local/bin/bun", mode: 0o755, from: bun}})
		require.NoError(t, err)
		want, err := img.Digest()
		require.NoError(t, err)
		got, err := again.Digest()
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	t.Run("it runs as a user who is not root", func(t *testing.T) {
		config, err := img.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, "1000:1000", config.Config.User)
		require.Equal(t, "linux/amd64", config.Platform().String())
	})
	t.Run("it holds all that bun loads", func(t *testing.T) {
		dir := t.TempDir()
		unpack(t, img, dir)
		// The image's own linker, told to look nowhere but in the image.
		libc, err := findLibrary("libc.so.6")
		require.NoError(t, err)
		out, err := exec.Command(filepath.Join(dir, loader), "--inhibit-cache", "--library-path",
			filepath.Join(dir, filepath.Dir(libc.name)), "--list", filepath.Join(dir, "usr/local/bin/bun")).CombinedOutput()
		require.NoError(t, err, string(out))
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			_, path, ok := strings.Cut(strings.TrimSpace(line), "=> ")
			if ok {
				require.True(t, strings.HasPrefix(path, dir), "%s is not the image's", line)
			}
		}
	})
}

func TestProgramsAnswerWithTheirVersion(t *testing.T) {
	for _, c := range []struct {
		name, needs, version string
		path                 func() (string, error)
	}{
		{"bun", "npm", BunVersion, func() (string, error) { return Bun(t.Context()) }},
		{"pnpm", "node", PNPMVersion, func() (string, error) { return PNPM(t.Context()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.needs); err != nil {
				t.Skip(c.needs + " is not installed")
			}
			path, err := c.path()
			require.NoError(t, err)
			out, err := exec.Command(path, "--version").Output()
			require.NoError(t, err)
			require.Equal(t, c.version, strings.TrimSpace(string(out)))
		})
	}
}
