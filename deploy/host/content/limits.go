package content

import "io"

// An image whose layers together hold more is refused: a few megabytes of a
// compressed layer can unpack to more than any disk has.
const (
	bytesLimit   = 16 << 30
	entriesLimit = 2_000_000
)

// bounded reads a layer up to what the flattener's limit leaves.
type bounded struct {
	io.Reader
	f *flattener
}

func (b bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.f.bytesLeft -= int64(n); b.f.bytesLeft < 0 {
		return 0, b.f.fault("", "the image unpacks to more than %d GiB", bytesLimit>>30)
	}
	return n, err
}
