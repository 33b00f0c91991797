package pipeline

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// sampleText is so many bytes that compress, the same each time.
func sampleText(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 0, size+64)
	for len(text) < size {
		at := random.IntN(max(1, len(text)))
		if len(text) > 100 && random.IntN(2) > 0 {
			text = append(text, text[at:min(len(text), at+40)]...)
			continue
		}
		text = append(text, byte(random.IntN(256)), 'a', 'b', byte('a'+random.IntN(26)))
	}
	return text[:size]
}

func gzipped(t *testing.T, text []byte, pieces int) []byte {
	t.Helper()
	var out bytes.Buffer
	plain := sha256.New()
	w := newGzipWriter(&out, plain)
	for rest := text; len(rest) > 0; rest = rest[min(len(rest), pieces):] {
		n, err := w.Write(rest[:min(len(rest), pieces)])
		require.NoError(t, err)
		require.Equal(t, min(len(rest), pieces), n)
	}
	require.NoError(t, w.Close())
	sum := sha256.Sum256(text)
	require.Equal(t, sum[:], plain.Sum(nil))
	return out.Bytes()
}

func TestCompressedBytesDependOnTheContentAlone(t *testing.T) {
	text := sampleText(5*gzipBlock + 12345)
	want := gzipped(t, text, len(text))
	for _, processors := range []int{1, 2, 7} {
		was := runtime.GOMAXPROCS(processors)
		got := gzipped(t, text, 77777)
		runtime.GOMAXPROCS(was)
		require.Equal(t, sha256.Sum256(want), sha256.Sum256(got), "%d processors", processors)
	}
}

// A deflater is used for many pieces: what it has seen must not show in what follows.
func TestAPieceIsCompressedAsByANewDeflater(t *testing.T) {
	text := sampleText(6 * gzipBlock)
	used := deflater{}
	for i, size := range []int{gzipBlock, 10, gzipBlock, gzipBlock / 3, 0, gzipBlock} {
		raw := text[i*gzipBlock:][:size]
		before := text[max(0, i*gzipBlock-gzipWindow) : i*gzipBlock]
		var packed [2]bytes.Buffer
		for n, c := range []*deflater{&used, {}} {
			p := &gzipPiece{raw: raw, before: before, last: i%2 > 0}
			require.NoError(t, c.compress(p))
			packed[n] = p.packed
		}
		require.True(t, bytes.Equal(packed[0].Bytes(), packed[1].Bytes()), "piece %d", i)
	}
}

func TestCompressedBytesAreOneGzipMember(t *testing.T) {
	for name, size := range map[string]int{
		"nothing": 0, "one byte": 1, "a block": gzipBlock, "a block and a byte": gzipBlock + 1, "three blocks": 3 * gzipBlock,
	} {
		t.Run(name, func(t *testing.T) {
			text := sampleText(size)
			packed := gzipped(t, text, gzipBlock)
			z, err := gzip.NewReader(bytes.NewReader(packed))
			require.NoError(t, err)
			z.Multistream(false)
			got, err := io.ReadAll(z)
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, got))

			cmd := exec.Command("gzip", "-dc")
			cmd.Stdin = bytes.NewReader(packed)
			got, err = cmd.Output()
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, got), "what gzip itself reads")
		})
	}
}

func TestABlockIsCompressedWithTheEndOfTheOneBefore(t *testing.T) {
	noise := make([]byte, gzipBlock)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	again := append(noise, noise[gzipBlock-gzipWindow/2:]...)
	require.Less(t, len(gzipped(t, again, len(again))), gzipBlock+gzipWindow/4, "the second block is the end of the first")
}

// full is a disk that has no room after so many bytes.
type full struct{ left int }

var errFull = errors.New("no room")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestAFullDiskEndsTheCompression(t *testing.T) {
	for _, room := range []int{0, 5, 100_000} {
		w := newGzipWriter(&full{room}, sha256.New())
		text := sampleText(3 * gzipBlock)
		for range 20 {
			if _, err := w.Write(text); err != nil {
				break
			}
		}
		require.ErrorIs(t, w.Close(), errFull)
	}
}
