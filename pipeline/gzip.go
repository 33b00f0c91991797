package pipeline

import (
	"bytes"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"slices"

	"github.com/klauspost/compress/flate"
)

const (
	// gzipBlock is how much is compressed in one piece. The bytes depend on it, and not on
	// how many pieces are compressed at once.
	gzipBlock = 1 << 20
	// gzipWindow is how far back deflate looks: so much of the piece before is known to
	// the next one.
	gzipWindow = 32 << 10
	gzipLevel  = 6
)

// gzipWriter compresses what is written to it to one gzip member, on all processors. The
// same bytes come out whatever the machine is, and however they are written.
type gzipWriter struct {
	plain hash.Hash // gets what is written, uncompressed

	block  []byte // the piece that is being filled
	before []byte // the end of the piece before
	free   chan []byte
	queue  chan *gzipPiece
	ended  chan error // of what writes the pieces
	failed chan struct{}
}

// gzipPiece is a block on its way.
type gzipPiece struct {
	raw, before []byte
	last        bool
	packed      bytes.Buffer
	err         error
	done        chan struct{}
}

// newGzipWriter compresses to out, and gives plain what is written. Close must be called.
func newGzipWriter(out io.Writer, plain hash.Hash) *gzipWriter {
	workers := min(runtime.GOMAXPROCS(0), 8)
	w := &gzipWriter{
		plain: plain, free: make(chan []byte, 2*workers+2), queue: make(chan *gzipPiece, workers),
		ended: make(chan error, 1), failed: make(chan struct{}),
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
		if w.block == nil {
			w.block = w.buffer()
		}
		n := min(len(p), gzipBlock-len(w.block))
		w.block, p = append(w.block, p[:n]...), p[n:]
		// A full block waits for the next byte: only then it is known not to be the last.
		if len(w.block) == gzipBlock && len(p) > 0 {
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
	w.send(true)
	close(w.queue)
	return <-w.ended
}

// send starts the compression of the block. It waits while too many are on their way.
func (w *gzipWriter) send(last bool) {
	p := &gzipPiece{raw: w.block, before: w.before, last: last, done: make(chan struct{})}
	w.before = slices.Clone(w.block[max(0, len(w.block)-gzipWindow):])
	w.block = nil
	w.queue <- p
	go p.compress()
}

func (w *gzipWriter) buffer() []byte {
	select {
	case b := <-w.free:
		return b[:0]
	default:
		return make([]byte, 0, gzipBlock)
	}
}

// compress makes a piece of the deflate stream, which ends at a whole byte. Each piece has
// a compressor of its own, so that none of them knows what another one was.
func (p *gzipPiece) compress() {
	defer close(p.done)
	z, err := flate.NewWriterDict(&p.packed, gzipLevel, p.before)
	if err != nil {
		p.err = err
		return
	}
	if _, p.err = z.Write(p.raw); p.err != nil {
		return
	}
	if p.last {
		p.err = z.Close()
		return
	}
	p.err = z.Flush()
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
		case w.free <- p.raw:
		default:
		}
	}
	end := binary.LittleEndian.AppendUint32(nil, crc.Sum32())
	_, err := out.Write(binary.LittleEndian.AppendUint32(end, size))
	return err
}
