package git

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

func TestReadFilesReadsManyOfACommit(t *testing.T) {
	r := sample.New(t, sample.Options{})
	r.Commit("two", map[string]string{"a.txt": "first\nsecond\n", "b.txt": "third\n"})
	s := open(t, r.Dir, "HEAD")
	var got []string
	err := s.ReadFiles(context.Background(), []string{"b.txt", "gone.txt", "a.txt", "b.txt"}, func(path string, content io.Reader) error {
		// Only the beginning is read: the rest must not show up in the next file.
		begin := make([]byte, 3)
		_, err := io.ReadFull(content, begin)
		got = append(got, path+" "+string(begin))
		return err
	})
	require.NoError(t, err)
	require.Equal(t, []string{"b.txt thi", "a.txt fir", "b.txt thi"}, got)

	t.Run("a visitor's error ends it", func(t *testing.T) {
		calls := 0
		err := s.ReadFiles(context.Background(), []string{"a.txt", "b.txt"}, func(string, io.Reader) error { calls++; return io.ErrUnexpectedEOF })
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, 1, calls)
	})
}
