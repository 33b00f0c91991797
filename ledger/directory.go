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
	"slices"
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

// file is an entry on disk. Parts that are text stay readable.
type file struct {
	Sealed bool              `json:"sealed"`
	Text   map[string]string `json:"text,omitempty"`
	Binary map[string][]byte `json:"binary,omitempty"`
}

// Create keeps a new entry; ok is false if the name is taken.
func (d *Directory) Create(_ context.Context, name string, parts map[string][]byte, sealed bool) (bool, error) {
	ok := false
	err := d.exclusive(func() error {
		_, err := os.Stat(d.path(name))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		ok = true
		return d.put(d.path(name), pack(parts, sealed), sealed)
	})
	return ok && err == nil, err
}

// Read returns an entry; version is "" if there is none.
func (d *Directory) Read(_ context.Context, name string) (parts map[string][]byte, version string, sealed bool, err error) {
	raw, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", false, nil
	}
	if err != nil {
		return nil, "", false, err
	}
	parts, sealed = unpack(raw)
	return parts, hash(raw), sealed, nil
}

// Swap replaces an unsealed entry that still has that version.
func (d *Directory) Swap(_ context.Context, name, version string, parts map[string][]byte, sealed bool) (bool, error) {
	ok := false
	err := d.exclusive(func() error {
		raw, err := os.ReadFile(d.path(name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && hash(raw) != version {
			return nil
		}
		if err != nil {
			return err
		}
		if _, was := unpack(raw); was {
			return nil
		}
		ok = true
		return d.put(d.path(name), pack(parts, sealed), sealed)
	})
	return ok && err == nil, err
}

// Names lists the entries of a kind.
func (d *Directory) Names(_ context.Context, kind string) ([]string, error) {
	files, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, f := range files {
		name, isEntry := strings.CutSuffix(f.Name(), ".json")
		_, numbered := nameSeq(name)
		if _, k, _ := strings.Cut(name, "-"); isEntry && numbered && k == kind {
			names = append(names, name)
		}
	}
	return names, err
}

// Scan reads every entry of a kind.
func (d *Directory) Scan(ctx context.Context, kind string, each func(string, map[string][]byte, bool) error) error {
	names, err := d.Names(ctx, kind)
	if err != nil {
		return err
	}
	for _, name := range names {
		parts, version, sealed, err := d.Read(ctx, name)
		if err != nil {
			return err
		}
		if version == "" {
			continue
		}
		if err := each(name, parts, sealed); err != nil {
			return err
		}
	}
	return nil
}

// ReadLock returns the lock's fields; version is "" if it was never taken.
func (d *Directory) ReadLock(context.Context) (map[string]string, string, error) {
	raw, err := os.ReadFile(d.path("lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	fields := map[string]string{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		// What cannot be read has no holder; its version still guards the swap.
		fields = nil
	}
	return fields, hash(raw), nil
}

// SwapLock replaces the lock's fields if it still has that version.
func (d *Directory) SwapLock(ctx context.Context, version string, fields map[string]string) (string, bool, error) {
	next, ok := "", false
	err := d.exclusive(func() error {
		_, now, err := d.ReadLock(ctx)
		if err != nil || now != version {
			return err
		}
		raw, err := encode(fields)
		if err != nil {
			return err
		}
		next, ok = hash(raw), true
		return d.put(d.path("lock"), raw, false)
	})
	return next, ok && err == nil, err
}

func (d *Directory) path(name string) string { return filepath.Join(d.dir, name+".json") }

// exclusive runs one writer at a time. The kernel frees the lock of a process
// that was killed.
func (d *Directory) exclusive(write func() error) error {
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

// put writes a file that is whole and on disk once it has its name.
func (d *Directory) put(path string, raw []byte, sealed bool) error {
	mode := fs.FileMode(0o644)
	if sealed {
		mode = 0o444
	}
	next, err := os.CreateTemp(d.dir, ".next-")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	_, err = next.Write(raw)
	err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func pack(parts map[string][]byte, sealed bool) []byte {
	f := file{Sealed: sealed, Text: map[string]string{}, Binary: map[string][]byte{}}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if part := parts[name]; utf8.Valid(part) {
			f.Text[name] = string(part)
		} else {
			f.Binary[name] = part
		}
	}
	raw, _ := encode(f) // strings and bytes always encode
	return raw
}

// unpack reads a file. One that is damaged is a sealed entry whose record
// cannot be read, so that it is found where records are judged.
func unpack(raw []byte) (parts map[string][]byte, sealed bool) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return map[string][]byte{partRecord: raw}, true
	}
	parts = make(map[string][]byte, len(f.Text)+len(f.Binary))
	for name, part := range f.Text {
		parts[name] = []byte(part)
	}
	maps.Copy(parts, f.Binary)
	return parts, f.Sealed
}

var _ Store = (*Directory)(nil)
