package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePackagesAreTheSameEachTime(t *testing.T) {
	p := packages{name: "some", count: 3, files: 4, bytes: 2000}
	address, shut, err := p.serve()
	require.NoError(t, err)
	t.Cleanup(shut)
	get := func(at string) []byte {
		answer, err := http.Get(at)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, http.StatusOK, answer.StatusCode, at)
		data, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return data
	}
	var document struct {
		Versions map[string]struct {
			Dist struct{ Tarball, Integrity string }
		}
	}
	require.NoError(t, json.Unmarshal(get(address+"/"+p.packageName(0)), &document))
	one := get(document.Versions["1.0.0"].Dist.Tarball)
	require.Equal(t, one, get(document.Versions["1.0.0"].Dist.Tarball))
	require.Len(t, filesOf(t, one), 5)

	changed := 0
	other := filesOf(t, get(document.Versions["1.0.1"].Dist.Tarball))
	for name, text := range filesOf(t, one) {
		if other[name] != text {
			changed++
		}
	}
	require.Equal(t, 2, changed, "its manifest and one file")

	answer, err := http.Get(address + "/" + p.packageName(3))
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
}

func filesOf(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		all[h.Name] = string(data)
	}
}

func TestTheTextsCompressAsProgramsDo(t *testing.T) {
	text := script(wordList(), 7, 14<<10)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	ratio := float64(len(text)) / float64(out.Len())
	require.Greater(t, ratio, 3.0)
	require.Less(t, ratio, 7.0)
}

// The caches of package managers know packages by their names.
func TestTheTreesHaveNoPackageInCommon(t *testing.T) {
	require.NotEqual(t, smallTree().packageName(0), largeTree().packageName(0))
}
