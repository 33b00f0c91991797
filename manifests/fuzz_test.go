package manifests

import (
	"errors"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// seedFiles are the manifests of the repository's samples.
func seedFiles(f *testing.F, isSeed func(name string) bool) {
	f.Helper()
	archives, err := filepath.Glob("testdata/*.txtar")
	require.NoError(f, err)
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(f, err)
		for _, file := range archive.Files {
			if isSeed(file.Name) {
				f.Add(file.Data)
			}
		}
	}
}

// offline makes whatever would reach the network a fault of the test: HTTP
// requests, and git, which kustomize starts for a remote base.
// reached says whether one was made since it was asked last.
func offline(f *testing.F) (reached func() bool) {
	f.Helper()
	var asked atomic.Bool
	before := http.DefaultTransport
	http.DefaultTransport = roundTrip(func(*http.Request) (*http.Response, error) {
		asked.Store(true)
		return nil, errors.New("offline")
	})
	bin, started := f.TempDir(), filepath.Join(f.TempDir(), "started")
	require.NoError(f, os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\n: >'"+started+"'\nexit 1\n"), 0o755))
	f.Setenv("PATH", bin+":/usr/bin:/bin")
	f.Cleanup(func() { http.DefaultTransport = before })
	return func() bool {
		ran := os.Remove(started) == nil
		return asked.Swap(false) || ran
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

func FuzzManifest(f *testing.F) {
	seedFiles(f, func(name string) bool {
		return strings.HasPrefix(name, "k8s/") && (path.Ext(name) == ".yaml" || path.Ext(name) == ".yml" || path.Ext(name) == ".json")
	})
	f.Add([]byte(ownPod + "a: &a {b: c}\nd: {<<: *a, b: e}\n...\n"))
	f.Add([]byte(workloadHead + "        env: [{name: A, value: 1}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := simple(ownImage, map[string]string{"k.yaml": string(data)}, "k.yaml")
		objects, err := render(in)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, len(YAML(objects)), len(objects))
		_, err = notesOf(in.Role, objects)
		require.NoError(t, err)
		for _, o := range objects {
			require.NotContains(t, string(o), `"image":"`+ownImage+`:`, "the release's image by tag")
		}
	})
}

func FuzzKustomization(f *testing.F) {
	reached := offline(f)
	seedFiles(f, func(name string) bool { return strings.HasPrefix(path.Base(name), "kustomization") })
	for _, text := range []string{
		"Resources: ['http://127.0.0.1:1/base']\n", "resources: [github.com/a/b]\n", "patches: [{Path: 'https://127.0.0.1:1/p'}]\n",
		"transformers: [\"{apiVersion: builtin, kind: PatchTransformer, metadata: {name: t}, path: 'http://127.0.0.1:1/p'}\"]\n",
		"configMapGenerator: [{name: m, files: ['k=https://127.0.0.1:1/f'], envs: [e]}]\n", "replacements: [{path: r.yaml}]\n", "resources: ['http:00']\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := simple(ownImage, map[string]string{
			"k8s/kustomization.yaml": string(data), "k8s/pod.yaml": strings.TrimSuffix(ownPod, "---\n"), "k8s/t.yaml": string(data),
		}, "k8s")
		_, _ = render(in) // a fault is fine; a panic, a hang or a request is none
		require.False(t, reached(), "something was fetched")
	})
}
