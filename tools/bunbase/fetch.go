package bunbase

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// The versions that the first user runs.
const (
	BunVersion  = "1.3.9"
	PNPMVersion = "9.15.9"
)

// Bun gives the path of bun for this machine, fetched by npm if need be.
func Bun(ctx context.Context) (string, error) {
	unlock, err := cluster.Lock(ctx, "bunbase", nil)
	if err != nil {
		return "", err
	}
	defer unlock()
	return fetchBun(ctx, runtime.GOOS, runtime.GOARCH)
}

// PNPM gives the path of pnpm, installed by npm if need be. It runs on node.
func PNPM(ctx context.Context) (string, error) {
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	unlock, err := cluster.Lock(ctx, "pnpm", nil)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(cache, "pnpm-"+PNPMVersion)
	path := filepath.Join(dir, "node_modules", ".bin", "pnpm")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	part := dir + ".part"
	if err := errors.Join(os.RemoveAll(part), os.RemoveAll(dir), os.MkdirAll(part, 0o755)); err != nil {
		return "", err
	}
	_, err = npm(ctx, "install", "--prefix", part, "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "pnpm@"+PNPMVersion)
	if err != nil {
		return "", err
	}
	return path, os.Rename(part, dir)
}

// fetchBun gives the path of bun for a platform. The caller holds the lock.
func fetchBun(ctx context.Context, goos, arch string) (string, error) {
	name, ok := map[string]string{
		"linux/amd64": "linux-x64", "linux/arm64": "linux-aarch64", "darwin/amd64": "darwin-x64", "darwin/arm64": "darwin-aarch64",
	}[goos+"/"+arch]
	if !ok {
		return "", fmt.Errorf("there is no bun for %s/%s", goos, arch)
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "bun-"+BunVersion+"-"+name)
	path := filepath.Join(dir, "bun")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out, err := npm(ctx, "pack", "--silent", "--pack-destination", dir, "@oven/bun-"+name+"@"+BunVersion)
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, filepath.Base(strings.TrimSpace(out)))
	if err := extract(archive, "package/bin/bun", path); err != nil {
		return "", fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
	}
	return path, os.Remove(archive)
}

// npm runs npm and gives what it wrote to stdout.
func npm(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = os.TempDir() // no project's .npmrc
	var fault strings.Builder
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("npm %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(fault.String()))
	}
	return string(out), nil
}

// extract writes the program called name in a gzipped tar to path, whole or not at all.
func extract(archive, name, path string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if h.Name != name {
			continue
		}
		part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(part, r)
		if err := errors.Join(err, part.Close()); err != nil {
			return err
		}
		return os.Rename(path+".part", path)
	}
}
