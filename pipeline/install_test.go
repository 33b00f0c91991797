package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// fakePnpm puts a program on the PATH that stands in for pnpm where it matters only
// when it runs and what it sees: it counts its runs, and lists what is there.
func fakePnpm(t *testing.T, script string) (runs func() int) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "runs")
	text := "#!/bin/sh\nset -e\necho run >> " + log + "\nmkdir -p node_modules/.pnpm/made\necho '{}' > node_modules/.pnpm/made/package.json\n" + script
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pnpm"), []byte(text), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		data, _ := os.ReadFile(log)
		return strings.Count(string(data), "run")
	}
}

func TestAChangeOfTheSourceCostsNoInstall(t *testing.T) {
	r := sample.New(t, sample.Options{})
	runs := fakePnpm(t, "find . -name '*.ts' | grep -q . && exit 9; touch node_modules/.pnpm/made/changed")
	opts := testOptions(t)
	img := workerImage()
	img.Run = [][]string{{"pnpm", "install", "--frozen-lockfile"}, {"sh", "-c", "cat packages/system-bus/src/serve.ts > packages/system-bus/built; echo 1 >> node_modules/.pnpm/made/changed"}}
	build := func() Built {
		t.Helper()
		b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		return b
	}
	first := build()
	require.Equal(t, 1, runs())
	require.Contains(t, fileOf(t, first, "app/packages/system-bus/built"), "serve")

	r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
	second := build()
	require.Equal(t, 1, runs(), "a source edit repeats no install")
	require.Equal(t, "// changed\n", fileOf(t, second, "app/packages/system-bus/built"))
	require.Equal(t, "1\n", fileOf(t, second, "app/node_modules/.pnpm/made/changed"), "what a command changes is not kept")

	r.Commit("dependency", map[string]string{".npmrc": "strict-peer-dependencies=false\n"})
	build()
	require.Equal(t, 2, runs(), "what the install reads does")
	opts.NoCache = true
	build()
	require.Equal(t, 3, runs(), "and so does a build without caches")
}

func TestAnInstallThatNeedsTheSourceRunsWithIt(t *testing.T) {
	manifest := func(more string) map[string]string {
		return map[string]string{worker + "/package.json": `{"name":"@busrig/system-bus","version":"1.0.0","dependencies":{"@busrig/event-contract":"workspace:*"}` + more + `}`}
	}
	for name, tt := range map[string]struct {
		edits map[string]string
		why   string
	}{
		"a script of the package":    {manifest(`,"scripts":{"postinstall":"true"}`), worker + "/package.json has a postinstall script"},
		"a program of pnpm's":        {map[string]string{".pnpmfile.cjs": "module.exports = {}\n"}, ".pnpmfile.cjs is a program, which may read the source"},
		"an addon":                   {map[string]string{worker + "/binding.gyp": "{}\n"}, worker + "/binding.gyp is compiled by the install"},
		"an injected package":        {manifest(`,"dependenciesMeta":{"@busrig/event-contract":{"injected":true}}`), worker + "/package.json injects @busrig/event-contract"},
		"a committed install":        {map[string]string{worker + "/node_modules/x/index.js": "1\n"}, worker + "/node_modules/x/index.js is committed"},
		"a folder of programs":       {manifest(`,"directories":{"bin":"bin"}`), worker + "/package.json has a folder of programs"},
		"another folder is linked":   {manifest(`,"publishConfig":{"directory":"dist"}`), worker + "/package.json has publishConfig.directory"},
		"what the install makes too": {map[string]string{worker + "/made.txt": "committed\n"}, worker + "/made.txt is committed, and the install makes it"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample.New(t, sample.Options{Edits: tt.edits})
			fakePnpm(t, "echo made > packages/system-bus/made.txt")
			img := workerImage()
			img.Run = [][]string{{"pnpm", "install"}}
			opts := testOptions(t)
			var said []string
			opts.Progress = func(e release.Event) { said = append(said, fmt.Sprint(e.Mark, " ", e.Message)) }
			two, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			require.Contains(t, said, "note the install runs with the source, so a change of the source repeats it: "+tt.why)
			img.Run = [][]string{{"sh", "-c", "exec pnpm install"}} // no install that shipit knows
			one := buildImage(t, r.Dir, img)
			require.Equal(t, one.Digest, two.Digest)
		})
	}
}

func TestProgramsOfTheWorkspaceArePartOfTheInstall(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{
		worker + "/package.json": `{"name":"@busrig/system-bus","version":"1.0.0","bin":{"bus":"./src/bus.js"},"dependencies":{"@busrig/event-contract":"workspace:*"}}`,
		worker + "/src/bus.js":   "#!/usr/bin/env bun\n",
	}})
	runs := fakePnpm(t, "head -1 packages/system-bus/src/bus.js > node_modules/.pnpm/made/shim")
	img := workerImage()
	img.Run = [][]string{{"pnpm", "install"}}
	opts := testOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	r.Commit("program", map[string]string{worker + "/src/bus.js": "#!/usr/bin/env node\n"})
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, 2, runs())
	require.Equal(t, "#!/usr/bin/env node\n", fileOf(t, b, "app/node_modules/.pnpm/made/shim"))
}

func TestTheCacheKeepsTheLastInstalls(t *testing.T) {
	c := installCache{dir: filepath.Join(t.TempDir(), "installs"), link: true}
	tree := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "a/b"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "a/b/x"), []byte("x"), 0o755))
	require.NoError(t, os.Symlink("b/x", filepath.Join(tree, "a/link")))
	for i := range installsKept + 2 {
		require.NoError(t, c.keep(t.Context(), fmt.Sprint(i), tree))
	}
	kept, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	require.Len(t, kept, installsKept)
	to := t.TempDir()
	found, err := c.restore(t.Context(), fmt.Sprint(installsKept+1), to)
	require.NoError(t, err)
	require.True(t, found)
	target, err := os.Readlink(filepath.Join(to, "a/link"))
	require.NoError(t, err)
	require.Equal(t, "b/x", target)
	info, err := os.Stat(filepath.Join(to, "a/link"))
	require.NoError(t, err)
	require.EqualValues(t, 0o755, info.Mode().Perm())
}

func TestAProgramThatInstallsSomethingElseSeesTheSource(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "test -e packages/system-bus/src/serve.ts")
	img := workerImage()
	img.Run = [][]string{{"pnpm", "exec", "playwright", "install"}}
	var said []string
	opts := testOptions(t)
	opts.Progress = func(e release.Event) { said = append(said, e.Message) }
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err, strings.Join(said, "\n"))
}
