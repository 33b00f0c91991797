package pipeline

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/tools/bunbase"
)

// manager is a package manager: how it makes a lockfile and how it installs from one.
type manager struct {
	name          string
	lock, install []string
}

func managers(t *testing.T) []manager {
	t.Helper()
	bun, err := bunbase.Bun(t.Context())
	require.NoError(t, err)
	pnpm, err := bunbase.PNPM(t.Context())
	require.NoError(t, err)
	return []manager{
		{"pnpm", []string{pnpm, "install", "--lockfile-only"}, []string{pnpm, "install", "--frozen-lockfile", "--prod"}},
		{"bun", []string{bun, "install", "--lockfile-only"}, []string{bun, "install", "--frozen-lockfile", "--production"}},
	}
}

// installed is what a package of a workspace depends on, with what else its
// repository has.
type installed struct {
	name  string
	deps  string            // JSON, of packages/a
	root  string            // more fields of the root's package.json
	files map[string]string // more files
	has   map[string]string // what a file of the image holds, by the end of its path
}

const leftPad = `diff --git a/index.js b/index.js
--- a/index.js
+++ b/index.js
@@ -1,3 +1,4 @@
+// patched here
 /* This program is free software. It comes without any warranty, to
      * the extent permitted by applicable law. You can redistribute it
      * and/or modify it under the terms of the Do What The Fuck You Want
`

// installs are the ways by which a package manager may do more than unpack.
func installs(git string) []installed {
	return []installed{
		{name: "a script after the install that replaces a program", deps: `{"esbuild":"0.25.0"}`, root: `,"pnpm":{"onlyBuiltDependencies":["esbuild"]},"trustedDependencies":["esbuild"]`, has: map[string]string{"esbuild/package.json": `"0.25.0"`}},
		{name: "optional packages for one platform", deps: `{"lightningcss":"1.29.1"}`, has: map[string]string{"lightningcss-linux-x64-gnu/package.json": "x64"}},
		{name: "a native addon", deps: `{"bufferutil":"4.0.9"}`, root: `,"pnpm":{"onlyBuiltDependencies":["bufferutil"]},"trustedDependencies":["bufferutil"]`, has: map[string]string{"bufferutil/prebuilds/linux-x64/bufferutil.node": "ELF"}},
		{
			name: "a patch", deps: `{"left-pad":"1.3.0"}`, files: map[string]string{"patches/left-pad.patch": leftPad},
			root: `,"pnpm":{"patchedDependencies":{"left-pad@1.3.0":"patches/left-pad.patch"}},"patchedDependencies":{"left-pad@1.3.0":"patches/left-pad.patch"}`,
			has:  map[string]string{"left-pad/index.js": "// patched here"},
		},
		{name: "a git repository", deps: `{"from-git":"git+` + git + `"}`, has: map[string]string{"from-git/index.js": "from git"}},
		{
			name: "programs of packages and of the workspace", deps: `{"semver":"7.7.1","@w/b":"workspace:*"}`,
			files: map[string]string{"packages/b/package.json": `{"name":"@w/b","version":"1.0.0","bin":{"b":"./b.js"},"dependencies":{"nanoid":"5.1.2"}}`, "packages/b/b.js": "#!/usr/bin/env node\n"},
			has:   map[string]string{"semver/bin/semver.js": "node"},
		},
		{
			name: "a script of the repository that changes an installed file where it is", deps: `{"left-pad":"1.3.0"}`,
			root: `,"dependencies":{"left-pad":"1.3.0"},"scripts":{"postinstall":"echo '// changed' >> node_modules/left-pad/index.js"}`,
			has:  map[string]string{"left-pad/index.js": "// changed"},
		},
	}
}

// gitServer serves a package from a repository as any web server can, and gives
// the address of its one commit.
func gitServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"name":"from-git","version":"1.0.0","bin":"index.js"}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte("#!/usr/bin/env node\n// from git\n"), 0o755))
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t.test"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-qm", "package")
	git("update-server-info")
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	return server.URL + "/.git#" + git("rev-parse", "HEAD")
}

// installRepo is a repository that depends on what i says, with the lockfile that
// the package manager makes of it.
func installRepo(t *testing.T, i installed, m manager) *sample.Repo {
	t.Helper()
	r := sample.New(t, sample.Options{})
	for _, p := range []string{"packages", "pnpm-lock.yaml", "pnpm-workspace.yaml"} {
		r.Remove(p)
	}
	files := map[string]string{
		"package.json":            `{"name":"root","version":"1.0.0","private":true,"workspaces":["packages/*"]` + i.root + `}`,
		"pnpm-workspace.yaml":     "packages: ['packages/*']\n",
		"packages/a/package.json": `{"name":"@w/a","version":"1.0.0","dependencies":` + i.deps + `}`,
	}
	for at, text := range i.files {
		files[at] = text
	}
	r.Commit("packages", files)
	cmd := exec.Command(m.lock[0], m.lock[1:]...)
	cmd.Dir = r.Dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	r.Commit("lockfile", nil)
	return r
}

// What a package manager finds in its stores must not show in the image.
func TestAnInstallIsTheSameColdAndWarm(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	git := gitServer(t)
	for _, m := range managers(t) {
		for _, i := range installs(git) {
			t.Run(m.name+": "+i.name, func(t *testing.T) {
				r := installRepo(t, i, m)
				img := workerImage()
				img.Package, img.Run = "packages/a", [][]string{m.install}
				in, opts := resolve(t, r.Dir, img), testOptions(t)
				var digests []string
				for n := range 4 { // the second one keeps what the third one takes
					b, err := Build(t.Context(), in, opts)
					require.NoError(t, err)
					digests = append(digests, b.Digest)
					require.NoError(t, os.RemoveAll(filepath.Join(opts.CacheDir, "builds")))
					if n < 2 { // or the install does not run again, as before the fourth
						require.NoError(t, os.RemoveAll(filepath.Join(opts.CacheDir, "installs")))
					}
					for end, text := range i.has {
						requireFile(t, b, end, text)
					}
				}
				require.Equal(t, slices.Repeat(digests[:1], 4), digests)
				img.Run = [][]string{append([]string{"sh", "-c", `exec "$@"`, "sh"}, m.install...)}
				require.Equal(t, digests[0], buildImage(t, r.Dir, img).Digest, "in one step with the source")
				_, err := checkReproducible(t.Context(), in, opts)
				require.NoError(t, err)
			})
		}
	}
}

// requireFile looks for a file of the image by the end of its path.
func requireFile(t *testing.T, b Built, end, text string) {
	t.Helper()
	for name, h := range headersOf(t, b) {
		if h.Size > 0 && strings.HasSuffix(name, "/"+end) {
			require.Contains(t, fileOf(t, b, name), text)
			return
		}
	}
	t.Errorf("the image has no %s", end)
}
