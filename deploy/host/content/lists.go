package content

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	notesDir    = ".shipit"
	entriesFile = notesDir + "/entries" // "KIND ./path" of everything, sorted; links with " -> target"
)

// Manifest is the list of the hashes of all files, in the form that sha256sum reads.
// It is written last: where it is missing, a release directory is not whole.
const Manifest = notesDir + "/manifest"

// finish writes the two lists and the end of the tar. It returns the Files of the tree:
// the SHA-256, in hexadecimal digits, of the lists of every entry, its kind, the target of
// every link, the hash of every file. They tie a release directory to an image from
// outside of the directory.
func (f *flattener) finish() (files string, err error) {
	if err := f.header(&tar.Header{Typeflag: tar.TypeDir, Name: "./" + notesDir + "/", Mode: 0o755}); err != nil {
		return "", err
	}
	entries, manifest := f.lists()
	for _, file := range []struct {
		name string
		body []byte
	}{{entriesFile, entries}, {Manifest, manifest}} {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + file.name, Mode: 0o444, Size: int64(len(file.body))}
		if err := f.header(h); err != nil {
			return "", err
		}
		if _, err := f.out.Write(file.body); err != nil {
			return "", fmt.Errorf("write %s: %w", file.name, err)
		}
	}
	if err := f.out.Close(); err != nil {
		return "", fmt.Errorf("end the tar: %w", err)
	}
	sum := sha256.Sum256(append(entries, manifest...))
	return hex.EncodeToString(sum[:]), nil
}

// lists are the entries in the order of their bytes and the hashes of the files
// in the form that sha256sum reads: a name with a backslash is escaped.
func (f *flattener) lists() (entries, manifest []byte) {
	lines := make([]string, 0, len(f.seen))
	var sums bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(f.seen)) {
		e := f.seen[name]
		line := string(e.kind) + " ./" + name
		if e.kind == kindLink {
			line += " -> " + e.target
		}
		lines = append(lines, line)
		if e.sum != "" {
			if strings.Contains(name, `\`) {
				sums.WriteByte('\\')
			}
			fmt.Fprintf(&sums, "%s  ./%s\n", e.sum, strings.ReplaceAll(name, `\`, `\\`))
		}
	}
	slices.Sort(lines)
	var list bytes.Buffer
	for _, line := range lines {
		list.WriteString(line + "\n")
	}
	return list.Bytes(), sums.Bytes()
}
