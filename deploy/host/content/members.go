package content

import (
	"fmt"
	"io"
)

// member is a regular file of a tar, or a hard link.
type member struct {
	name     string // ./path
	sum      string // of its content
	target   string // of a hard link; else empty
	from, to int64  // where it is in the tar
}

// member writes a file or a hard link, and tells where it is in the tar. write returns the
// SHA-256 of its content.
func (f *flattener) member(m member, write func() (sum string, err error)) error {
	if err := f.out.Flush(); err != nil { // what is before it is filled up
		return fmt.Errorf("write what is before %s: %w", m.name, err)
	}
	m.from = f.written.n
	var err error
	if m.sum, err = write(); err != nil {
		return err
	}
	if err := f.out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", m.name, err)
	}
	if m.to = f.written.n; f.told != nil {
		f.told(m)
	}
	return nil
}

// countedWriter counts what is written.
type countedWriter struct {
	w io.Writer
	n int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
