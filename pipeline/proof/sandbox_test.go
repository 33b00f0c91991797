package proof

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestWhatASandboxCannotDoIsNoFaultOfTheImage(t *testing.T) {
	if startable() != nil {
		t.Skip("entering an image needs root on Linux, unshare and mount")
	}
	s := Subject{Image: config.Image{Entrypoint: []string{"true"}, Prove: config.Prove{Start: config.Duration(30 * time.Second)}}, Tree: filepath.Join(t.TempDir(), "gone")}
	_, err := s.start(t.Context(), rootfs{dir: t.TempDir()})
	require.ErrorIs(t, err, errNotHere)
	require.ErrorContains(t, err, "gone", "with what failed")
}

func TestTheHomeFolderIsThatOfTheImagesUser(t *testing.T) {
	dir := t.TempDir()
	require.Equal(t, "/", rootfs{dir: dir}.home("1000"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nbun:x:1000:1000::/home/bun:/bin/sh\n"), 0o644))
	require.Equal(t, "/home/bun", rootfs{dir: dir}.home("1000"))
	require.Equal(t, "/", rootfs{dir: dir}.home("7"))
}

func TestTheEndOfAProgramBeginsWithItsError(t *testing.T) {
	for name, tt := range map[string]struct {
		lines []string
		want  string
	}{
		"bun": {
			[]string{"listening", "1 | throw new Error(\"x\")", "          ^", "error: Cannot find package 'hono' from '/app/a.ts'", "      at /app/a.ts:1:7", "", "Bun v1.3.9 (Linux x64)"},
			"error: Cannot find package 'hono' from '/app/a.ts'",
		},
		"node": {
			[]string{"/app/x.js:1", "throw new Error('boom')", "^", "Error: boom", "    at Object.<anonymous> (/app/x.js:1:7)", "    at node:internal/main:28:49 {", "  code: 'X'", "}", "Node.js v22.1.0"},
			"Error: boom |   code: 'X'",
		},
		"the last error is the one that ended it": {
			[]string{"error: cache is cold", "going on", "TypeError: a is undefined", "    at f (/app/x.js:1:7)"},
			"TypeError: a is undefined",
		},
		"no error is named": {[]string{"1", "2", "3", "4", "5", "no queue"}, "2 | 3 | 4 | 5 | no queue"},
	} {
		t.Run(name, func(t *testing.T) {
			var e ending
			for _, line := range tt.lines {
				e.add(line)
			}
			require.Equal(t, tt.want, e.excerpt())
		})
	}
}
