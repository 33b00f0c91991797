package machine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDisk reads any answer as files of a host's folder.
func FuzzDisk(f *testing.F) {
	for _, seed := range []string{"2 000001.json\n{}", "2 a\n{}0 b\n", "-1 a\nx", "9223372036854775807 a\nx", "x", "0 \n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, out string) {
		size := 0
		_ = eachFile(out, func(_ string, content []byte) error { size += len(content); return nil })
		require.LessOrEqual(t, size, len(out))
	})
}
