package pipeline

import (
	"bytes"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/klauspost/compress/flate"
)

const (
	// gzipBlock is how much is compressed in one piece. The bytes depend on it, and not on
	// how many pieces are compressed at once.
	gzipBlock = 1 << 20
	// gzipWindow is how far back deflate looks: so much of the piece before is known to
	// the next one.
	gzipWindow = 32 << 10
	// gzipLevel makes of the packages of npm about what `gzip` makes of them by default.
	gzipLevel = 5
	// gzipAhead is how many pieces wait for a processor or for their turn to be written.
	gzipAhead = 8
)

// gzipWriter compresses what is written to it to one gzip member, on all processors. The
// same bytes come out whatever the machine is, and however they are written.
type gzipWriter struct {
	plain hash.Hash // gets what is written, uncompressed

	piece  *gzipPiece      // that is being filled; nil if none is
	before []byte          // the end of the piece before
	free   chan *gzipPiece // that were written
	jobs   chan *gzipPiece
	queue  chan *gzipPiece // the same in order, until each is written
	ended  chan error      // of what writes the pieces
	failed chan struct{}
}

// gzipPiece is a block on its way.
type gzipPiece struct {
	raw, before []byte
	last        bool
	packed      bytes.Buffer
	err         error
	done        chan struct{} // gets one when it is compressed
}

// newGzipWriter compresses to out, and gives plain what is written. Close must be called.
func newGzipWriter(out io.Writer, plain hash.Hash) *gzipWriter {
	w := &gzipWriter{
		plain: plain, free: make(chan *gzipPiece, gzipAhead+2), jobs: make(chan *gzipPiece, gzipAhead+2),
		queue: make(chan *gzipPiece, gzipAhead), ended: make(chan error, 1), failed: make(chan struct{}),
	}
	for range min(runtime.GOMAXPROCS(0), gzipAhead) {
		go deflater{}.work(w.jobs)
	}
	go func() {
		err := w.drain(out)
		if err != nil {
			close(w.failed)
			for range w.queue { // what is still to come is thrown away
			}
		}
		w.ended <- err
	}()
	return w
}

func (w *gzipWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if w.piece == nil {
			w.piece = w.empty()
		}
		n := min(len(p), gzipBlock-len(w.piece.raw))
		w.piece.raw, p = append(w.piece.raw, p[:n]...), p[n:]
		// A full block waits for the next byte: only then it is known not to be the last.
		if len(w.piece.raw) == gzipBlock && len(p) > 0 {
			w.send(false)
		}
		select {
		case <-w.failed:
			return 0, io.ErrClosedPipe // Close tells why
		default:
		}
	}
	return written, nil
}

// Close writes what is left and waits until all is written.
func (w *gzipWriter) Close() error {
	if w.piece == nil {
		w.piece = w.empty()
	}
	w.send(true)
	close(w.queue)
	close(w.jobs)
	return <-w.ended
}

// send has the piece compressed. It waits while too many are on their way.
func (w *gzipWriter) send(last bool) {
	p := w.piece
	p.last, p.before = last, append(p.before[:0], w.before...)
	w.before = append(w.before[:0], p.raw[max(0, len(p.raw)-gzipWindow):]...)
	w.piece = nil
	w.queue <- p
	w.jobs <- p
}

func (w *gzipWriter) empty() *gzipPiece {
	select {
	case p := <-w.free:
		p.raw = p.raw[:0]
		p.packed.Reset()
		return p
	default:
		return &gzipPiece{raw: make([]byte, 0, gzipBlock), done: make(chan struct{}, 1)}
	}
}

// deflater compresses one piece after the other. Nothing of a piece shows in the next.
type deflater struct{ z *flate.Writer }

func (d deflater) work(jobs chan *gzipPiece) {
	for p := range jobs {
		p.err = d.compress(p)
		p.done <- struct{}{}
	}
}

// compress makes a piece of the deflate stream, which ends at a whole byte.
func (d *deflater) compress(p *gzipPiece) (err error) {
	if d.z == nil {
		d.z, err = flate.NewWriterDict(&p.packed, gzipLevel, p.before)
	} else {
		d.z.ResetDict(&p.packed, p.before)
	}
	if err == nil {
		_, err = d.z.Write(p.raw)
	}
	switch {
	case err != nil:
		return err
	case p.last:
		return d.z.Close()
	}
	return d.z.Flush()
}

// drain writes the member: its head, the pieces in order, and its end.
func (w *gzipWriter) drain(out io.Writer) error {
	// No name, no time, an unknown system: as with `gzip -n`.
	if _, err := out.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}); err != nil {
		return err
	}
	crc, size := crc32.NewIEEE(), uint32(0)
	for p := range w.queue {
		_, _ = w.plain.Write(p.raw) // a hash takes all
		_, _ = crc.Write(p.raw)
		size += uint32(len(p.raw)) //nolint:gosec // modulo 2³², as the format has it
		<-p.done
		if p.err != nil {
			return p.err
		}
		if _, err := out.Write(p.packed.Bytes()); err != nil {
			return err
		}
		select {
		case w.free <- p:
		default:
		}
	}
	end := binary.LittleEndian.AppendUint32(nil, crc.Sum32())
	_, err := out.Write(binary.LittleEndian.AppendUint32(end, size))
	return err
}
