package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/joelhooks/shipit/tools/waiting"
)

// debianRoot gives a folder with the packages of a real node unpacked in it.
// They are fetched once, and nothing is installed on the system: no script of a
// package runs, no service starts.
func debianRoot(ctx context.Context, progress func(string)) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(cache, "debian-"+release()+"-"+runtime.GOARCH)
	unlock, err := Lock(ctx, "debian", progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	part := root + ".part"
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return "", err
	}
	defer waiting.For(progress, "fetching containerd, runc, CNI plugins and a registry, 50 MB, which are unpacked and not installed", waiting.About(15*time.Second))()
	packages := []string{"containerd", "runc", "libseccomp2", "containernetworking-plugins", "docker-registry"}
	if err := fetchPackages(ctx, part, packages, progress); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(part, "*.deb"))
	if err != nil {
		return "", err
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, part).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, out)
		}
		if err := os.Remove(deb); err != nil {
			return "", err
		}
	}
	return root, os.Rename(part, root)
}

// fetchPackages downloads into dir, with fresh package lists if the present
// ones are missing or name files that are gone.
func fetchPackages(ctx context.Context, dir string, packages []string, progress func(string)) error {
	first := aptGet(ctx, dir, append([]string{"download"}, packages...)...)
	if first == nil {
		return nil
	}
	progress("fetching the package lists")
	if err := aptGet(ctx, dir, "update"); err != nil {
		return errors.Join(first, err)
	}
	return aptGet(ctx, dir, append([]string{"download"}, packages...)...)
}

func aptGet(ctx context.Context, dir string, args ...string) error {
	// As root the cache is not readable to the user that apt would fetch as.
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// release is this system's code name, such as bookworm.
func release() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "unknown"
}
