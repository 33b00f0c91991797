package ledger

import (
	"context"
	"encoding/json"
	"maps"
	"path"
	"strings"
	"unicode/utf8"
)

// Directory is a Store in a folder, for set-ups without a cluster. One file an
// entry; writers take turns by flock, and every file appears whole or not at all.
type Directory struct {
	disk Disk
	dir  string
}

// Disk is where a Directory is stored: this machine's disk, or that of another one.
type Disk interface {
	// Read reads files of a folder, in any order, and leaves out those that are not there.
	Read(ctx context.Context, dir string, names []string, each func(name string, content []byte) error) error
	// List names the files of a folder; none if there is no such folder.
	List(ctx context.Context, dir string) ([]string, error)
	// Replace writes a file, whole and durably, if its content still has the SHA-256
	// was ("sha256:…"; "" if there must be none); false if it has another. One
	// writer at a time is let into a folder, which is made if need be.
	Replace(ctx context.Context, dir, name, was string, content []byte) (bool, error)
	// Name names the disk in messages; "" is this machine's.
	Name() string
}

// NewDirectory is the store of an app below a folder of this machine, which is
// made when the first entry is.
func NewDirectory(folder, app string) *Directory { return NewDirectoryOn(localDisk{}, folder, app) }

// NewDirectoryOn is the store of an app below a folder of a disk.
func NewDirectoryOn(disk Disk, folder, app string) *Directory {
	return &Directory{disk: disk, dir: path.Join(folder, app)}
}

// Location is the folder's name, with that of the machine if it is another one.
func (d *Directory) Location() string {
	if name := d.disk.Name(); name != "" {
		return d.dir + " on " + name
	}
	return d.dir
}

// file is an entry or the lock on disk. Parts that are text stay readable. The
// hash of the whole is its version, and the revision makes each write another.
type file struct {
	Revision int64             `json:"revision"`
	Sealed   bool              `json:"sealed,omitempty"`
	Text     map[string]string `json:"text,omitempty"`
	Binary   map[string][]byte `json:"binary,omitempty"`
}

// Create stores a new entry; the version is "" if its name is taken.
func (d *Directory) Create(ctx context.Context, e StoredEntry) (version string, err error) {
	return d.put(ctx, e.Name, "", newFile(e.Parts, e.Sealed))
}

// Read returns an entry; its version is "" if there is none.
func (d *Directory) Read(ctx context.Context, name string) (StoredEntry, error) {
	f, version, err := d.get(ctx, name)
	if err != nil || version == "" {
		return StoredEntry{}, err
	}
	return f.entry(name, version), nil
}

// Swap replaces an unsealed entry that still has the version of e.
func (d *Directory) Swap(ctx context.Context, e StoredEntry) (version string, err error) {
	was, now, err := d.get(ctx, e.Name)
	if err != nil || now == "" || now != e.Version || was.Sealed {
		return "", err
	}
	next := newFile(e.Parts, e.Sealed)
	next.Revision = was.Revision + 1
	return d.put(ctx, e.Name, now, next)
}

// Names lists the entries of a kind.
func (d *Directory) Names(ctx context.Context, kind string) ([]string, error) {
	files, err := d.disk.List(ctx, d.dir)
	var names []string
	for _, f := range files {
		name, isEntry := strings.CutSuffix(f, ".json")
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
	for i := range names {
		names[i] += ".json"
	}
	return d.disk.Read(ctx, d.dir, names, func(name string, content []byte) error {
		f, version := parseFile(content)
		return each(f.entry(strings.TrimSuffix(name, ".json"), version))
	})
}

// ReadLock returns the lock; its version is "" if it was never taken.
func (d *Directory) ReadLock(ctx context.Context) (StoredLock, error) {
	f, version, err := d.get(ctx, "lock")
	return StoredLock{Fields: f.Text, Version: version}, err
}

// SwapLock replaces the lock if it still has the version of next.
func (d *Directory) SwapLock(ctx context.Context, next StoredLock) (version string, err error) {
	was, now, err := d.get(ctx, "lock")
	if err != nil || now != next.Version {
		return "", err
	}
	return d.put(ctx, "lock", now, file{Revision: was.Revision + 1, Text: next.Fields})
}

// get reads the file of an entry; version is "" if there is none.
func (d *Directory) get(ctx context.Context, name string) (f file, version string, err error) {
	if err := ctx.Err(); err != nil {
		return file{}, "", err
	}
	err = d.disk.Read(ctx, d.dir, []string{name + ".json"}, func(_ string, content []byte) error {
		f, version = parseFile(content)
		return nil
	})
	return f, version, err
}

// put writes the file of an entry over the version was; the new version is "" if
// another writer came first.
func (d *Directory) put(ctx context.Context, name, was string, f file) (version string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	content := f.bytes()
	replaced, err := d.disk.Replace(ctx, d.dir, name+".json", was, content)
	if err != nil || !replaced {
		return "", err
	}
	return hash(content), nil
}

// parseFile reads a file of an entry. One that is damaged is a sealed entry whose
// record cannot be read, or a lock without a holder.
func parseFile(content []byte) (f file, version string) {
	if json.Unmarshal(content, &f) != nil {
		f = file{Sealed: true, Text: map[string]string{partRecord: string(content)}}
	}
	return f, hash(content)
}

func (f file) entry(name, version string) StoredEntry {
	return StoredEntry{Name: name, Parts: f.parts(), Version: version, Sealed: f.Sealed}
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
