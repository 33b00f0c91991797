// Package hosttest makes what the tests of hosts unpack: layers of images, and names
// that a careless command line would run, split or lose.
package hosttest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// Hostile are words that a careless command line would run, split or lose.
func Hostile() []string {
	return []string{
		"plain", "two words", "", "it's", `"quoted"`, "$(touch pwned)", "`touch pwned`", "$HOME", "a;b|c&d>e<f", "*", "~", "!!",
		`back\slash`, "-rf", "tab\there", "line\nbreak", "ünï→", `'\''`, "#no comment", "{a,b}",
	}
}

// Entry is one entry of a layer.
type Entry struct {
	Header tar.Header
	Body   string
}

// File is a regular file.
func File(name, body string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, Body: body}
}

// Program is a file that may be run.
func Program(name, body string) Entry {
	e := File(name, body)
	e.Header.Mode = 0o755
	return e
}

// Symlink is a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}}
}

// Dir is a folder.
func Dir(name string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

// Tar is a layer of the entries, and its diffID.
func Tar(t *testing.T, entries ...Entry) (layer []byte, diffID string) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.Header.Size = int64(len(e.Body))
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.Body)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	sum := sha256.Sum256(buf.Bytes())
	return buf.Bytes(), "sha256:" + hex.EncodeToString(sum[:])
}
