package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"sync"
	"time"
)

const (
	// tarPartBytes is how many bytes of files, about, one goroutine puts into a tar.
	tarPartBytes = 1 << 20
	// tarPartEntries is how many entries it puts in at most.
	tarPartEntries = 512
	// tarWhole is how large a file may be that is read before its turn comes.
	tarWhole = 4 << 20
	// tarAhead is how many parts are made, or wait for their turn.
	tarAhead = 4
)

// writeTar writes the content below imageRoot: sorted, each folder before its
// content, times 0, owner 0:0, modes 0755, 0644 or, for links, 0777. Files on disk are
// read on all processors; the bytes are the same on one.
func writeTar(ctx context.Context, w io.Writer, c content) error {
	c = c.withFolders()
	var err error
	if c.committed() {
		err = c.each(ctx, tarInto(tar.NewWriter(w)))
	} else {
		err = c.writeParts(ctx, w)
	}
	if err != nil {
		return err
	}
	return tar.NewWriter(w).Close()
}

// withFolders is the content with each folder before what is in it, and imageRoot itself.
func (c content) withFolders() content {
	out := c
	out.Entries = make([]entry, 0, len(c.Entries)+1)
	written := map[string]bool{}
	folder := func(p string) {
		if !written[p] {
			written[p] = true
			out.Entries = append(out.Entries, entry{Path: p, Kind: kindDir})
		}
	}
	for _, e := range c.Entries {
		folder("")
		for i, b := range e.Path {
			if b == '/' {
				folder(e.Path[:i])
			}
		}
		if e.Kind == kindDir {
			folder(e.Path)
			continue
		}
		out.Entries = append(out.Entries, e)
	}
	return out
}

// tarInto writes an entry, and pads it to the end of its last block.
func tarInto(tw *tar.Writer) func(entry, io.Reader) error {
	return func(e entry, r io.Reader) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(imageRoot[1:], e.Path), Mode: 0o644, Size: e.Size, ModTime: time.Unix(0, 0)}
		switch {
		case e.Kind == kindDir:
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o755
		case e.Kind == kindLink:
			h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, e.Link, 0o777, 0
		case e.Executable:
			h.Mode = 0o755
		}
		err := tw.WriteHeader(h)
		if err == nil {
			_, err = io.Copy(tw, r)
		}
		if err == nil {
			err = tw.Flush()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		return nil
	}
}

// tarPart is some entries of a tar, and the bytes that they become.
type tarPart struct {
	entries []entry
	large   bool // one file, which is read when its turn comes
	bytes   *bytes.Buffer
	err     error
	done    chan struct{}
}

// parts divides the entries in their order.
func (c content) parts() iter.Seq[*tarPart] {
	return func(yield func(*tarPart) bool) {
		for from, to := 0, 0; from < len(c.Entries); from = to {
			large := c.Entries[from].Size > tarWhole
			var size int64
			for to < len(c.Entries) && to-from < tarPartEntries && size < tarPartBytes {
				next := c.Entries[to].Size
				if to > from && next > tarWhole {
					break
				}
				size, to = size+next, to+1
			}
			if !yield(&tarPart{entries: c.Entries[from:to], large: large, done: make(chan struct{})}) {
				return
			}
		}
	}
}

// writeParts writes the entries, which are not in git, as parts of a tar that are made at
// the same time.
func (c content) writeParts(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	buffers := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	queue := make(chan *tarPart, tarAhead)
	go func() {
		defer close(queue)
		for p := range c.parts() {
			p.bytes = buffers.Get().(*bytes.Buffer)
			p.bytes.Reset()
			select {
			case <-ctx.Done():
				return
			case queue <- p:
				go p.fill(ctx, c)
			}
		}
	}()
	defer func() { // no file is read any more when it has returned
		cancel()
		for p := range queue {
			<-p.done
		}
	}()
	for p := range queue {
		<-p.done
		err := p.err
		switch {
		case err == nil && p.large:
			err = c.on(w, p.entries)
		case err == nil:
			_, err = w.Write(p.bytes.Bytes())
		}
		if err != nil {
			return err
		}
		buffers.Put(p.bytes)
	}
	return context.Cause(ctx)
}

// fill makes the bytes of a part, unless it is large.
func (p *tarPart) fill(ctx context.Context, c content) {
	defer close(p.done)
	if p.err = context.Cause(ctx); p.err == nil && !p.large {
		p.err = c.on(p.bytes, p.entries)
	}
}

// on writes entries as a part of a tar.
func (c content) on(w io.Writer, entries []entry) error {
	add, files := tarInto(tar.NewWriter(w)), fileReader{roots: c.roots}
	for _, e := range entries {
		if err := files.pass(e, add); err != nil {
			return err
		}
	}
	return nil
}
