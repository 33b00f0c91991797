package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Directory is a Store in a folder of this machine, for set-ups without a
// cluster. One file an entry; writers take turns by flock, and every file
// appears whole or not at all.
type Directory struct{ dir string }

// NewDirectory is the store of an app below a folder, which is made when the
// first entry is.
func NewDirectory(folder, app string) *Directory {
	return &Directory{dir: filepath.Join(folder, app)}
}

// Place is the folder's name.
func (d *Directory) Place() string { return d.dir }

// file is an entry or the lock on disk. Parts that are text stay readable. The
// hash of the whole is its version, and the revision makes each write another.
type file struct {
	Revision int64             `json:"revision"`
	Sealed   bool              `json:"sealed,omitempty"`
	Text     map[string]string `json:"text,omitempty"`
	Binary   map[string][]byte `json:"binary,omitempty"`
}

// Create keeps a new entry; the version is "" if its name is taken.
func (d *Directory) Create(ctx context.Context, e StoredEntry) (version string, err error) {
	err = d.exclusive(ctx, func() error {
		_, err := os.Stat(d.path(e.Name))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		version, err = d.put(d.path(e.Name), newFile(e.Parts, e.Sealed))
		return err
	})
	return version, err
}

// Read returns an entry; its version is "" if there is none.
func (d *Directory) Read(ctx context.Context, name string) (StoredEntry, error) {
	if err := ctx.Err(); err != nil {
		return StoredEntry{}, err
	}
	f, version, err := d.get(d.path(name))
	if err != nil || version == "" {
		return StoredEntry{}, err
	}
	return StoredEntry{Name: name, Parts: f.parts(), Version: version, Sealed: f.Sealed}, nil
}

// Swap replaces an unsealed entry that still has the version of e.
func (d *Directory) Swap(ctx context.Context, e StoredEntry) (version string, err error) {
	err = d.exclusive(ctx, func() error {
		was, now, err := d.get(d.path(e.Name))
		if err != nil || now == "" || now != e.Version || was.Sealed {
			return err
		}
		next := newFile(e.Parts, e.Sealed)
		next.Revision = was.Revision + 1
		version, err = d.put(d.path(e.Name), next)
		return err
	})
	return version, err
}

// Names lists the entries of a kind.
func (d *Directory) Names(ctx context.Context, kind string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, f := range files {
		name, isEntry := strings.CutSuffix(f.Name(), ".json")
		_, numbered := nameSeq(name)
		if isEntry && numbered && Kind(name) == kind {
			names = append(names, name)
		}
	}
	return names, err
}

// Scan reads every entry of a kind.
func (d *Directory) Scan(ctx context.Context, kind string, each func(StoredEntry) error) error {
	names, err := d.Names(ctx, kind)
	if err != nil {
		return err
	}
	for _, name := range names {
		e, err := d.Read(ctx, name)
		if err != nil {
			return err
		}
		if !e.found() {
			continue
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

// ReadLock returns the lock; its version is "" if it was never taken.
func (d *Directory) ReadLock(ctx context.Context) (StoredLock, error) {
	if err := ctx.Err(); err != nil {
		return StoredLock{}, err
	}
	f, version, err := d.get(d.path("lock"))
	return StoredLock{Fields: f.Text, Version: version}, err
}

// SwapLock replaces the lock if it still has the version of next.
func (d *Directory) SwapLock(ctx context.Context, next StoredLock) (version string, err error) {
	err = d.exclusive(ctx, func() error {
		was, now, err := d.get(d.path("lock"))
		if err != nil || now != next.Version {
			return err
		}
		version, err = d.put(d.path("lock"), file{Revision: was.Revision + 1, Text: next.Fields})
		return err
	})
	return version, err
}

func (d *Directory) path(name string) string { return filepath.Join(d.dir, name+".json") }

// exclusive runs one writer at a time. The kernel frees the lock of a process
// that was killed.
func (d *Directory) exclusive(ctx context.Context, write func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	guard, err := os.OpenFile(filepath.Join(d.dir, ".writer"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer guard.Close()
	for {
		err = syscall.Flock(int(guard.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", guard.Name(), err)
	}
	return write()
}

// get reads a file; version is "" if there is none. One that is damaged is a
// sealed entry whose record cannot be read, or a lock without a holder.
func (d *Directory) get(path string) (f file, version string, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, "", nil
	}
	if err != nil {
		return file{}, "", err
	}
	if json.Unmarshal(raw, &f) != nil {
		f = file{Sealed: true, Text: map[string]string{partRecord: string(raw)}}
	}
	return f, hash(raw), nil
}

// put writes a file that is whole and on disk once it has its name, and returns
// its version.
func (d *Directory) put(path string, f file) (version string, err error) {
	mode := fs.FileMode(0o644)
	if f.Sealed {
		mode = 0o444
	}
	next, err := os.CreateTemp(d.dir, ".next-")
	if err != nil {
		return "", err
	}
	defer os.Remove(next.Name())
	raw := f.bytes()
	_, err = next.Write(raw)
	err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close())
	if err != nil {
		return "", err
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return "", err
	}
	return hash(raw), syncFolder(d.dir)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func newFile(parts map[string][]byte, sealed bool) file {
	f := file{Sealed: sealed, Text: map[string]string{}, Binary: map[string][]byte{}}
	for name, part := range parts {
		if utf8.Valid(part) {
			f.Text[name] = string(part)
		} else {
			f.Binary[name] = part
		}
	}
	return f
}

func (f file) parts() map[string][]byte {
	parts := make(map[string][]byte, len(f.Text)+len(f.Binary))
	for name, part := range f.Text {
		parts[name] = []byte(part)
	}
	maps.Copy(parts, f.Binary)
	return parts
}

func (f file) bytes() []byte {
	raw, _ := encode(f) // strings and bytes always encode
	return raw
}

var _ Store = (*Directory)(nil)
