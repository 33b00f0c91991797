package pipeline

import (
	"context"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

func TestEveryPlatformIsBuiltWhereCommandsRun(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Platforms = toolchain, []string{"linux/arm64", "linux/amd64"}
	img.Run = [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	b, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Implements(t, (*v1.ImageIndex)(nil), b.Artifact)
	var platforms []any
	for _, c := range engine.takes() {
		platforms = append(platforms, c[0].args["platform"])
	}
	require.Equal(t, []any{"linux/amd64", "linux/arm64"}, platforms)
}

func TestAnInstallWithScriptsRunsInTheToolchainOfItsPlatform(t *testing.T) {
	r := sample.New(t, sample.Options{})
	runs := fakePnpm(t, `mkdir -p node_modules/x; echo '{"name":"x","version":"1.0.0","scripts":{"install":"node-gyp rebuild"}}' > node_modules/x/package.json; echo "$@" > node_modules/x/args`)
	img := workerImage()
	img.Toolchain, img.Platforms, img.Run = toolchain, []string{"linux/arm64"}, [][]string{{"pnpm", "install"}}
	opts, engine := daggerOptions(t)
	var said []string
	opts.Progress = func(e release.Event) { said = append(said, e.Message) }
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Contains(t, said, "worker runs in the toolchain of linux/arm64, because of install scripts: x@1.0.0")
	require.Equal(t, "install\n", fileOf(t, b, "app/node_modules/x/args"), "in which they do run")
	require.GreaterOrEqual(t, runs(), 2)
	var platforms []any
	for _, c := range engine.asked {
		if c[len(c)-1].name == "sync" && c[0].name == "container" && len(c.all("withExec")) > 0 {
			platforms = append(platforms, c[0].args["platform"])
		}
	}
	require.Equal(t, []any{"linux/amd64", "linux/arm64"}, slices.Compact(platforms))

	_, err = Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
	require.Equal(t, release.CodeForeignScript, refused(t, err).Code, "this machine has no such toolchain")
}

func TestPackagesOfAnotherPlatformAreRefusedWhateverBuilds(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Platforms = toolchain, []string{"linux/arm64", "linux/amd64"}
	img.Run = [][]string{{"sh", "-ec", `mkdir -p node_modules/x; echo '{"name":"@esbuild/linux-x64","os":["linux"],"cpu":["x64"]}' > node_modules/x/package.json`}}
	inEngine, _ := daggerOptions(t)
	for name, opts := range map[string]Options{"dagger": inEngine, "embedded": testOptions(t)} {
		_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.ErrorContains(t, err, "@esbuild/linux-x64", name)
		require.ErrorContains(t, err, "linux/arm64", name)
	}
}

func TestAToolchainWithoutThePlatformIsRefusedBeforeItRuns(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Platforms = toolchain, []string{"linux/arm64", "linux/amd64"}
	img.Run = [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	amd64, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	require.NoError(t, err)
	opts.Base = func(_ context.Context, ref string) (Artifact, error) {
		require.Equal(t, toolchain, ref)
		return amd64, nil
	}
	_, err = Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.ErrorContains(t, err, "toolchain "+toolchain)
	require.ErrorContains(t, err, "has no platform linux/arm64, only linux/amd64")
	require.Empty(t, engine.takes())
}

func TestAToolchainThatNamesNoVariantServesEveryVariant(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Platforms, img.Run = toolchain, []string{"linux/arm64/v8"}, [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	arm64, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "arm64"})
	require.NoError(t, err)
	opts.Base = func(context.Context, string) (Artifact, error) { return arm64, nil }
	_, err = Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, "linux/arm64/v8", engine.exported()[0].args["platform"])
}
