package proof

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/joelhooks/shipit/pipeline/process"
)

// rootfs is the unpacked file system of a base image.
type rootfs struct {
	dir    string
	config v1.Config
}

// unpack extracts the base into a folder below parent, or finds it there. Devices are
// left out. Owners are those of the image if this process can give them; parent is then
// closed to others, who could have the same user ids.
func unpack(ctx context.Context, base v1.Image, parent string) (rootfs, error) {
	cfg, err := base.ConfigFile()
	if err != nil {
		return rootfs{}, err
	}
	digest, err := base.Digest()
	if err != nil {
		return rootfs{}, err
	}
	r, mode := rootfs{dir: filepath.Join(parent, digest.Hex), config: cfg.Config}, fs.FileMode(0o755)
	if owns() {
		r.dir, mode = r.dir+"-owned", 0o700
	}
	if _, err := os.Stat(r.dir); err == nil {
		now := time.Now()
		return r, os.Chtimes(r.dir, now, now)
	}
	if err := errors.Join(os.MkdirAll(parent, mode), os.Chmod(parent, mode)); err != nil {
		return r, err
	}
	tmp, err := os.MkdirTemp(parent, ".base-")
	if err != nil {
		return r, err
	}
	defer func() { _ = process.RemoveAll(tmp) }()
	flat := mutate.Extract(base)
	defer flat.Close()
	if err := untar(ctx, &bounded{flat, baseLimit}, tmp); err != nil {
		return r, fmt.Errorf("unpack the base: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // a root that others enter
		return r, err
	}
	if err := os.Rename(tmp, r.dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return r, err
	}
	return r, keepNewest(parent, keptBases)
}

// baseLimit is how much a base may unpack to: a few megabytes of a compressed layer
// can unpack to more than any disk has.
const baseLimit = 16 << 30

// bounded reads no more than left bytes; more of them are an error.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it unpacks to more than %d GiB", int64(baseLimit)>>30)
	}
	return n, err
}

// keptBases is how many unpacked bases stay on disk.
const keptBases = 3

// keepNewest removes all but the n folders of dir that were used last. What was
// used within the hour stays.
func keepNewest(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range infos[min(n, len(infos)):] {
		if time.Since(info.ModTime()) > time.Hour {
			if err := process.RemoveAll(filepath.Join(dir, info.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// untar writes a tar's folders, files and links below dir and nowhere else.
func untar(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		if err := untarEntry(root, name, h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func untarEntry(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := untarNode(root, name, h, r); err != nil || !owns() {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeSymlink, tar.TypeReg:
		if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
			return fmt.Errorf("%w: its owner %d:%d cannot be set: %w", errNotHere, h.Uid, h.Gid, err)
		}
	}
	return nil
}

func untarNode(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	mode := fs.FileMode(h.Mode).Perm() //nolint:gosec // nine bits of it
	switch h.Typeflag {
	case tar.TypeDir:
		return errors.Join(root.MkdirAll(name, mode|0o700), root.Chmod(name, mode|0o700))
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode|0o400)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Chmod(mode|0o400), f.Close())
	}
	return nil
}

// at is where a path of the image lies on disk, with links followed as if the
// root file system were "/".
func (r rootfs) at(p string) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	done := ""
	for links := 0; len(rest) > 0; {
		step := path.Join("/", done, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(filepath.Join(r.dir, step))
		if err != nil {
			done = step
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("%s: too many links", p)
		}
		if path.IsAbs(target) {
			done = ""
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	disk := filepath.Join(r.dir, done)
	_, err := os.Stat(disk)
	return disk, err
}

// program finds a program of the image as its PATH would.
func (r rootfs) program(name string) (string, error) {
	if strings.Contains(name, "/") {
		return r.at(name)
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range r.config.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range strings.Split(search, ":") {
		if p, err := r.at(path.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not in the base", name)
}

// command is what runs a program of the image on this machine without entering
// the image: by the image's own loader and libraries.
func (r rootfs) command(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		interp, err := io.ReadAll(prog.Open())
		if err != nil {
			return nil, err
		}
		loader, err := r.at(strings.TrimRight(string(interp), "\x00"))
		if err != nil {
			return nil, err
		}
		return []string{loader, "--library-path", strings.Join(r.libraries(), ":"), program}, nil
	}
	return []string{program}, nil
}

// libraries are the folders in which loaders look.
func (r rootfs) libraries() []string {
	var out []string
	for _, top := range []string{"lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib"} {
		dir, err := r.at(top)
		if err != nil {
			continue
		}
		multi, _ := filepath.Glob(filepath.Join(dir, "*-linux-*"))
		out = append(append(out, dir), multi...)
	}
	return out
}
