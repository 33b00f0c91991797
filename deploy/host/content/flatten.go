package content

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Layer is one layer of an image.
type Layer struct {
	DiffID string // sha256:… of the uncompressed tar; what Open gives is compared with it
	Open   func(context.Context) (io.ReadCloser, error)
}

// Kinds of entries, as the list of a release directory names them.
const (
	kindDir  = 'd'
	kindFile = 'f'
	kindExec = 'x' // a file that its owner may run
	kindLink = 'l' // a symbolic link
)

// flatten writes the tree that layers (lowest first) make together as one tar
// to w. The tar has folders, files and symbolic links only, nothing twice and
// nothing outside; files are read-only. Last come the lists of its entries and
// of their hashes, so a tar that was cut off is known by their absence.
//
// Layers are read from the top, each once: an entry of a layer hides those of the same
// name below. Faults are *layerError. It returns the Files of the layers. told is told of
// every file once it is written; nil: nobody is.
func flatten(ctx context.Context, w io.Writer, layers []Layer, told func(member)) (files string, err error) {
	f := newFlattener(w)
	f.told = told
	for i := len(layers) - 1; i >= 0; i-- {
		if err := f.layer(ctx, layers[i], i); err != nil {
			return "", err
		}
	}
	return f.finish()
}

type flattener struct {
	out         *tar.Writer
	written     *countedWriter
	told        func(member)
	bytesLeft   int64 // that the layers may still hold
	entriesLeft int

	seen   map[string]entry // what has been written, by clean path
	gone   map[string]bool  // whited out by a layer above the one being read
	opaque map[string]bool  // folders whose content below is hidden

	id    string // of the layer being read
	level int
	white []string // its whiteouts, in force for the layers below
	blank []string // its opaque folders
	hard  []hardLink
}

type entry struct {
	kind   byte
	level  int
	sum    string // of a file
	target string // of a link
}

type hardLink struct{ name, target, layer string }

func newFlattener(w io.Writer) *flattener {
	written := &countedWriter{w: w}
	return &flattener{
		out: tar.NewWriter(written), written: written, bytesLeft: bytesLimit, entriesLeft: entriesLimit,
		seen: map[string]entry{}, gone: map[string]bool{}, opaque: map[string]bool{},
	}
}

func (f *flattener) fault(name, format string, args ...any) error {
	return &layerError{DiffID: f.id, Path: name, Reason: fmt.Sprintf(format, args...)}
}

// layer reads one layer to its end and compares what it read with its diffID.
func (f *flattener) layer(ctx context.Context, l Layer, level int) error {
	f.id, f.level, f.white, f.blank, f.hard = l.DiffID, level, nil, nil, nil
	in, err := l.Open(ctx)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", l.DiffID, err)
	}
	defer in.Close()
	hash := sha256.New()
	read := io.TeeReader(bounded{in, f}, hash)
	files := tar.NewReader(read)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.DiffID, err)
		}
		if err := f.entry(header, files); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, read); err != nil {
		return fmt.Errorf("read layer %s: %w", l.DiffID, err)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != l.DiffID {
		return f.fault("", "its content is %s", got)
	}
	if err := f.hardLinks(); err != nil {
		return err
	}
	for _, name := range f.white {
		f.gone[name] = true
	}
	for _, name := range f.blank {
		f.opaque[name] = true
	}
	return nil
}

func (f *flattener) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if f.entriesLeft--; f.entriesLeft < 0 {
		return f.fault("", "the image has more than %d entries", entriesLimit)
	}
	name, err := f.inside(h.Name)
	if err != nil || name == "." {
		return err
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if hidden, found := strings.CutPrefix(base, ".wh."); found {
		if base == ".wh..wh..opq" {
			f.blank = append(f.blank, dir)
		} else if !strings.HasPrefix(base, ".wh..wh.") {
			f.white = append(f.white, path.Join(dir, hidden))
		}
		return nil
	}
	hidden, err := f.hidden(name, h.Typeflag == tar.TypeDir)
	if err != nil || hidden {
		return err
	}
	if err := f.folders(dir); err != nil {
		return err
	}
	return f.write(name, h, body)
}

// inside is the clean relative path of a name in a layer.
func (f *flattener) inside(name string) (string, error) {
	if strings.ContainsAny(name, "\n\x00") {
		return "", f.fault(name, "a name with a line break")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", f.fault(name, "leads out of the release directory")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == notesDir || strings.HasPrefix(clean, notesDir+"/") {
		return "", f.fault(name, "the name is reserved for shipit")
	}
	return clean, nil
}

// hidden reports whether something above hides name. Writing through a link or
// a file of the same layer is a fault.
func (f *flattener) hidden(name string, isDir bool) (bool, error) {
	if f.gone[name] {
		return true, nil
	}
	if e, found := f.seen[name]; found {
		switch {
		case e.level != f.level:
			return true, nil
		case e.kind == kindDir && isDir:
			return true, nil
		default:
			return false, f.fault(name, "is in the layer twice")
		}
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if f.opaque[dir] || f.gone[dir] {
			return true, nil
		}
		if e, found := f.seen[dir]; found && e.kind != kindDir {
			if e.level == f.level {
				return false, f.fault(name, "leads through %s, which is no folder", dir)
			}
			return true, nil
		}
		if dir == "." {
			return false, nil
		}
	}
}

// folders writes dir and the folders above it, those that are not there yet.
func (f *flattener) folders(dir string) error {
	if dir == "." || f.seen[dir].kind == kindDir {
		return nil
	}
	if err := f.folders(path.Dir(dir)); err != nil {
		return err
	}
	f.seen[dir] = entry{kind: kindDir, level: f.level}
	return f.header(&tar.Header{Typeflag: tar.TypeDir, Name: "./" + dir + "/", Mode: 0o755})
}

func (f *flattener) write(name string, h *tar.Header, body io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return f.folders(name)
	case tar.TypeReg:
		kind, mode := byte(kindFile), int64(0o444)
		if h.Mode&0o100 != 0 {
			kind, mode = kindExec, 0o555
		}
		hash := sha256.New()
		return f.member(member{name: "./" + name}, func() (sum string, err error) {
			if err := f.header(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: mode, Size: h.Size}); err != nil {
				return "", err
			}
			if _, err := io.Copy(io.MultiWriter(f.out, hash), body); err != nil {
				return "", fmt.Errorf("copy %s of layer %s: %w", name, f.id, err)
			}
			sum = hex.EncodeToString(hash.Sum(nil))
			f.seen[name] = entry{kind: kind, level: f.level, sum: sum}
			return sum, nil
		})
	case tar.TypeSymlink:
		if strings.ContainsAny(h.Linkname, "\n\x00") || h.Linkname == "" {
			return f.fault(name, "a link to %q", h.Linkname)
		}
		f.seen[name] = entry{kind: kindLink, level: f.level, target: h.Linkname}
		return f.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: "./" + name, Linkname: h.Linkname, Mode: 0o777})
	case tar.TypeLink:
		target, err := f.inside(h.Linkname)
		f.hard = append(f.hard, hardLink{name: name, target: target, layer: f.id})
		f.seen[name] = entry{level: f.level}
		return err
	default:
		return f.fault(name, "a device, pipe or other special file (type %q)", h.Typeflag)
	}
}

// hardLinks writes the layer's hard links, after all that they may lead to.
func (f *flattener) hardLinks() error {
	for _, l := range f.hard {
		to, found := f.seen[l.target]
		if !found || to.level != f.level || to.kind != kindFile && to.kind != kindExec {
			return f.fault(l.name, "a hard link to %q, which is no file of the same layer, or is replaced above it", l.target)
		}
		f.seen[l.name] = to
		err := f.member(member{name: "./" + l.name, target: "./" + l.target}, func() (sum string, err error) {
			return to.sum, f.header(&tar.Header{Typeflag: tar.TypeLink, Name: "./" + l.name, Linkname: "./" + l.target, Mode: 0o444})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) header(h *tar.Header) error {
	if err := f.out.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", h.Name, err)
	}
	return nil
}
