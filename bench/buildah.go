package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// buildah is Debian's, unpacked into the user's cache folder and not installed. It is how
// the first user's images are made today, with an image store of its own in dir.
type buildah struct {
	root, dir string
	version   string
}

// newBuildah fetches buildah if need be. It needs root: a build mounts the layers over
// each other.
func newBuildah(ctx context.Context, dir string) (b buildah, err error) {
	if os.Geteuid() != 0 {
		return b, errors.New("needs root, to mount layers over each other")
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return b, err
	}
	unlock, err := cluster.Lock(ctx, "buildah", say)
	if err != nil {
		return b, err
	}
	defer unlock()
	b = buildah{root: filepath.Join(cache, "buildah-debian"), dir: dir}
	if _, err := os.Stat(b.root); err != nil {
		if err := fetchDebian(ctx, b.root, "buildah", "libgpgme11", "libassuan0", "libdevmapper1.02.1", "libseccomp2", "libsubid4"); err != nil {
			return b, err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return b, err
	}
	line := b.line("--version")
	out, err := exec.CommandContext(ctx, line[0], line[1:]...).Output()
	if err != nil {
		return b, fmt.Errorf("buildah --version: %w", err)
	}
	b.version = strings.Fields(string(out) + " ? ? ?")[2]
	return b, errors.Join(
		os.WriteFile(b.file("policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644),
		os.WriteFile(b.file("registries.conf"), []byte("unqualified-search-registries = []\n"), 0o644))
}

func (b buildah) file(name string) string { return filepath.Join(b.dir, name) }

// seen runs a command with the unpacked libraries among the system's: buildah starts
// itself again with an environment of its own, so a variable would not do. The namespace
// takes the mounts of buildah with it when it ends.
const seen = `for d in "$1"/usr/lib/*-linux-gnu; do
	mount -t overlay overlay -o "lowerdir=$d:/usr/lib/${d##*/}" "/usr/lib/${d##*/}"
done
shift
exec "$@"`

// line is a command line of buildah.
func (b buildah) line(args ...string) []string {
	return append([]string{
		"unshare", "--mount", "sh", "-ec", seen, "sh", b.root, filepath.Join(b.root, "usr/bin/buildah"),
		"--root", b.file("store"), "--runroot", b.file("run"), "--storage-driver", "overlay", "--registries-conf", b.file("registries.conf"),
	}, args...)
}

// build makes the image of a folder's Dockerfile and pushes it, with the flags that serve
// it best: unlike docker it keeps no layers unless it is told to.
func (b buildah) build(folder, image string) [][]string {
	policy := b.file("policy.json")
	return [][]string{
		b.line("bud", "--quiet", "--layers", "--isolation", "chroot", "--network", "host", "--tls-verify=false", "--signature-policy", policy, "-t", image, folder),
		b.line("push", "--quiet", "--tls-verify=false", "--signature-policy", policy, image),
	}
}

// close removes the image store.
func (b buildah) close() error { return os.RemoveAll(b.dir) }
