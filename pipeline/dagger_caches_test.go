package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

func TestNothingOfAnEarlierBuildIsUsedWithoutCache(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	opts.NoCache = true
	in := resolve(t, r.Dir, img)
	var keys, salts []any
	for range 2 {
		engine.asked = nil
		_, err := Build(context.Background(), in, opts)
		require.NoError(t, err)
		c := engine.exported()
		keys = append(keys, engine.object(c.all("withMountedCache")[0].args["cache"])[0].args["key"])
		for _, e := range c.all("withEnvVariable") {
			if e.args["name"] == "SHIPIT_NO_CACHE" {
				salts = append(salts, e.args["value"])
			}
		}
	}
	require.NotEqual(t, keys[0], keys[1])
	require.Len(t, salts, 2)
	require.NotEqual(t, salts[0], salts[1])
}

func TestACacheIsOfOneImageOfOneAppOfOneRepository(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Platforms = []string{"linux/amd64"}
	own := resolve(t, r.Dir, img)
	volume := func(in Inputs, platform string) string {
		return daggerRun{in: in}.volume(dagger.Platform(platform), "/x")
	}
	for name, change := range map[string]func(*Inputs){
		"repository": func(in *Inputs) { in.SourceURL = "https://github.com/other/fork" }, "app": func(in *Inputs) { in.app = "other" },
		"image": func(in *Inputs) { in.Name = "gateway" }, "registry": func(in *Inputs) { in.Image.Repository = "registry.test/other" },
	} {
		other := own
		change(&other)
		require.NotEqual(t, volume(own, "linux/amd64"), volume(other, "linux/amd64"), name)
	}
	require.NotEqual(t, volume(own, "linux/amd64"), volume(own, "linux/arm64"))
	require.Equal(t, volume(own, "linux/amd64"), volume(resolve(t, r.Dir, img), "linux/amd64"))
}

func TestAnInstallInAnEngineRunsBeforeTheSourceGoesIn(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "find . -name '*.ts' | grep -q . && exit 9; :")
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"pnpm", "install"}, {"sh", "-c", "test -f packages/system-bus/src/serve.ts"}}
	opts, engine := daggerOptions(t)
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	takes := engine.takes()
	require.Len(t, takes, 2, "what the install made, and then what came after it")
	var steps []string
	for _, c := range takes[1] {
		if c.name == "withDirectory" || c.name == "withExec" {
			steps = append(steps, c.name)
		}
	}
	require.Equal(t, []string{"withDirectory", "withExec", "withDirectory", "withExec"}, steps)
	require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest)
}

func TestAChangeOfTheSourceTakesOutOnlyWhatCommandsChange(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "")
	img := workerImage()
	img.Toolchain = toolchain
	img.Run = [][]string{{"pnpm", "install"}, {"sh", "-c", "cat packages/system-bus/src/serve.ts > packages/system-bus/built; rm packages/system-bus/src/serve.ts"}}
	opts, engine := daggerOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	engine.asked = nil
	r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Len(t, engine.takes(), 1, "the install is on this machine")
	require.Len(t, engine.exported().all("withExec"), 2)
	require.Equal(t, "// changed\n", fileOf(t, b, "app/packages/system-bus/built"))
	require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest)
}

// What commands removed must be gone whatever the engine's layers say.
func TestATreeIsTakenOutWholeIfTheLayersDoNotSayWhatWasRemoved(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", "rm packages/system-bus/src/serve.ts; mkdir packages/system-bus/src/serve.ts"}}
	for name, forgetful := range map[string]bool{"layers that say it": false, "layers that do not": true} {
		opts, engine := daggerOptions(t)
		engine.forgetful = forgetful
		b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest, name)
	}
}

func TestAnInstallIsTakenOutOfTheEngineOnce(t *testing.T) {
	r := sample.New(t, sample.Options{})
	runs := fakePnpm(t, "")
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"pnpm", "install"}}
	opts, engine := daggerOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	before := runs()
	engine.exported()
	r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, before, runs())
	engine.exported() // still the one
	require.Equal(t, "// changed\n", fileOf(t, b, "app/packages/system-bus/src/serve.ts"))
	require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest)

	r.Commit("made too", map[string]string{"node_modules.txt": "x\n"})
	fakePnpm(t, "echo made > packages/system-bus/made.txt")
	r.Commit("both", map[string]string{worker + "/made.txt": "committed\n", ".npmrc": "color=false\n"})
	b, err = Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest, "the source goes in first where the install makes a file of it")
}

// The stand-in knows no caches, so this shows only that the second build of a
// comparison is given those of the first, and that everything around it is another.
func TestAComparisonInAnEngineIsColdAndWarmInOtherSurroundings(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run, img.Caches = toolchain, [][]string{{"true"}}, []string{".turbo", treeRoot + "/.next"}
	opts, engine := daggerOptions(t)
	_, err := checkReproducible(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	var caches, mounts, roots, zones, salts, commands []any
	for _, c := range engine.takes() {
		var keys, paths []any
		for _, m := range c.all("withMountedCache") {
			keys, paths = append(keys, engine.object(m.args["cache"])[0].args["key"]), append(paths, m.args["path"])
		}
		caches, mounts = append(caches, keys), append(mounts, paths[1:])
		roots = append(roots, c.all("withWorkdir")[0].args["path"])
		for _, e := range c.all("withEnvVariable") {
			switch e.args["name"] {
			case "TZ":
				zones = append(zones, e.args["value"])
			case "SHIPIT_NO_CACHE":
				salts = append(salts, e.args["value"])
			}
		}
		commands = append(commands, c.all("withExec")[0].args["args"].([]any)[2])
	}
	require.Len(t, caches, 2)
	require.Equal(t, caches[0], caches[1], "the second build is warm")
	require.Equal(t, 3, strings.Count(fmt.Sprint(caches[0]), "-shipit-reproducible-"), "and the first one is cold: its caches are nobody else's")
	require.Equal(t, []any{[]any{".turbo", ".next"}, []any{".turbo", ".next"}}, mounts, "caches in the tree are found wherever it is")
	require.Equal(t, treeRoot, roots[1])
	require.NotEqual(t, roots[0], roots[1])
	require.Equal(t, "UTC", zones[1])
	require.NotEqual(t, zones[0], zones[1])
	require.NotEqual(t, salts[0], salts[1], "the engine runs the commands of both")
	require.NotEqual(t, commands[0], commands[1])
}
