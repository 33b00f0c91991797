package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/tools/devhost"
)

// search looks for planted values in everything that was written.
type search struct {
	spellings map[string]string // what to look for → what it is
	found     []string
	places    int
	bytes     int
}

func newSearch() *search {
	s := &search{spellings: map[string]string{}}
	for name, value := range planted() {
		for _, line := range strings.Split(strings.TrimSpace(value), "\n") {
			s.spellings[line] = name
			if strings.HasPrefix(line, "zqx") {
				s.spellings[line[:9]] = "the beginning of " + name
			}
		}
		if name == "URL_OF_DB" {
			s.spellings["zqxdburl44aa55"] = name
		}
		if quoted, err := json.Marshal(value); err == nil {
			s.spellings[string(quoted[1:len(quoted)-1])] = name + " in JSON"
		}
		if len(value) < 6 {
			continue // three letters of base64 are anywhere
		}
		// Whatever stands before it, base64 of a value has one of three forms.
		for shift := range 3 {
			coded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
			first, last := (shift*8+5)/6, (shift+len(value))*8/6 // what depends on the value alone
			s.spellings[coded[first:last]] = name + " in base64"
		}
	}
	return s
}

// in searches bytes, and what they are when unpacked.
func (s *search) in(place string, data []byte) {
	s.places++
	s.bytes += len(data)
	for spelling, name := range s.spellings {
		if at := bytes.Index(data, []byte(spelling)); at >= 0 {
			s.found = append(s.found, fmt.Sprintf("%s in %s: %q", name, place, data[max(0, at-60):min(len(data), at+len(spelling)+20)]))
		}
	}
	if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		if plain, err := io.ReadAll(r); err == nil {
			s.in(place+", unpacked", plain)
		}
	}
}

func (s *search) file(t *testing.T, place, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	s.in(place, data)
}

// folder searches all files of a folder, and returns how many there are.
func (s *search) folder(t *testing.T, dir string) (files int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		s.file(t, path, path)
		return nil
	}))
	return files
}

// repositories searches what a registry keeps of the repositories below a name, and returns
// how many manifests and blobs that are. It is a folder of Docker's registry, in which others
// write too: a link of a repository names the digest of what is in the folder of all.
func (s *search) repositories(t *testing.T, dir, name string) (blobs int) {
	t.Helper()
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "repositories", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s.in(path, text)
		algorithm, hash, isLink := strings.Cut(string(text), ":")
		if d.Name() != "link" || seen[hash] {
			return nil
		}
		require.True(t, isLink, "%s: %q", path, text)
		seen[hash] = true
		s.file(t, path, filepath.Join(dir, "blobs", algorithm, hash[:2], hash, "data"))
		return nil
	}))
	return len(seen)
}

// objects searches what the namespace holds, but for the Secret.
func (s *search) objects(t *testing.T, g ground) {
	t.Helper()
	ctx, all := t.Context(), metav1.ListOptions{}
	maps, err := g.client.CoreV1().ConfigMaps("secrets").List(ctx, all)
	require.NoError(t, err)
	for _, m := range maps.Items {
		for key, text := range m.Data {
			s.in("ConfigMap "+m.Name+" "+key, []byte(text))
		}
		for key, data := range m.BinaryData {
			s.in("ConfigMap "+m.Name+" "+key, data)
		}
	}
	leases, err := g.client.CoordinationV1().Leases("secrets").List(ctx, all)
	require.NoError(t, err)
	deployments, err := g.client.AppsV1().Deployments("secrets").List(ctx, all)
	require.NoError(t, err)
	secrets, err := g.client.CoreV1().Secrets("secrets").List(ctx, all)
	require.NoError(t, err)
	for i := range secrets.Items {
		if secrets.Items[i].Name == "worker" {
			secrets.Items[i].Data = nil
		}
	}
	for place, list := range map[string]any{"the leases": leases, "the deployments": deployments, "the secrets": secrets} {
		data, err := json.Marshal(list)
		require.NoError(t, err)
		s.in(place, data)
	}
}

// machine searches what shipit and the service manager wrote on the machine.
func (s *search) machine(t *testing.T, h *devhost.Host) {
	t.Helper()
	for _, place := range []string{"/srv", "/etc/systemd/system", "/tmp", "/var/tmp", "/root"} {
		out, err := h.Exec(t.Context(), "find", place, "-xdev", "-type", "f", "-exec", "cat", "{}", "+")
		require.NoError(t, err)
		s.in(place+" of the machine", []byte(out))
	}
}

func TestASecretInARepositoryIsFound(t *testing.T) {
	dir := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	for repository, hash := range map[string]string{"secrets/app": "aa11", "another": "bb22"} {
		write("repositories/"+repository+"/_layers/sha256/"+hash+"/link", "sha256:"+hash)
		write("blobs/sha256/"+hash[:2]+"/"+hash+"/data", "in "+repository+": "+planted()["OPAQUE"])
	}
	s := newSearch()
	require.Equal(t, 1, s.repositories(t, dir, "secrets"))
	require.Contains(t, strings.Join(s.found, "\n"), "in secrets/app: zqxopaque1a2b3c4d")
	require.NotContains(t, strings.Join(s.found, "\n"), "in another")
}
