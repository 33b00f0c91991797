package proof

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestTheScriptsOfRoles(t *testing.T) {
	const worker = "packages/system-bus"
	img := config.Image{Entrypoint: []string{"bun", "--no-install", "run", "src/serve.ts"}}
	cfg := config.Config{Images: map[string]config.Image{"worker": img}, Roles: config.Roles{
		{Name: "host", Image: "worker", Host: &config.Host{Command: []string{"bun", "run", "src/host.ts"}}},
		{Name: "same", Image: "worker", Host: &config.Host{}},
		{Name: "other", Image: "gateway", Host: &config.Host{Command: []string{"bun", "src/daemon.ts"}}},
	}}
	require.Equal(t, []string{worker + "/src/serve.ts", worker + "/src/host.ts"}, Scripts(cfg, "worker", worker))
	img.Prove.Entrypoints = []string{"src/a.ts", "/app/tools/b.js"}
	cfg.Images["worker"] = img
	require.Equal(t, []string{worker + "/src/a.ts", "tools/b.js"}, Scripts(cfg, "worker", worker))
}

func TestARootFSFollowsLinksWithinItself(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/bun"), nil, 0o755))
	require.NoError(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	require.NoError(t, os.Symlink("/bin/bun", filepath.Join(dir, "usr/bin/bunx")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	r := rootfs{dir: dir}
	at, err := r.program("bunx")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "usr/bin/bun"), at)
	_, err = r.at("/loop")
	require.ErrorContains(t, err, "too many links")
	_, err = r.at("/../../etc/passwd")
	require.Error(t, err, "the machine's own files are out of reach")
}

func TestOnlyTheLastBasesStayUnpacked(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"oldest", "old", "new"} {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Join(at, "bin"), 0o755))
		when := time.Now().Add(time.Duration(i-10) * time.Hour)
		require.NoError(t, os.Chtimes(at, when, when))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "now"), 0o755))
	require.NoError(t, keepNewest(dir, 2))
	require.Equal(t, []string{"new", "now"}, names(t, dir))
	require.NoError(t, keepNewest(dir, 0))
	require.Equal(t, []string{"now"}, names(t, dir), "what is in use stays")
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestABaseThatUnpacksWithoutBoundIsRefused(t *testing.T) {
	out, in := io.Pipe()
	go func() {
		w := tar.NewWriter(in)
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: 1 << 40})
		for err == nil {
			_, err = w.Write(make([]byte, 1<<16))
		}
		in.CloseWithError(err)
	}()
	dir := t.TempDir()
	require.ErrorContains(t, untar(t.Context(), &bounded{out, 1 << 20}, dir), "unpacks to more than")
	require.NoError(t, out.Close())
	info, err := os.Stat(filepath.Join(dir, "zeros"))
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(1<<20))
}
