package pipeline

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/bunbase"
)

// platformManagers are the package managers, each with an install that runs no scripts.
func platformManagers(t *testing.T) []manager {
	t.Helper()
	all := append(managers(t), manager{"npm", []string{"npm", "install", "--package-lock-only"}, []string{"npm", "ci", "--omit=dev"}})
	for i := range all {
		all[i].install = append(slices.Clone(all[i].install), ignoreScripts)
	}
	return all
}

// perPlatform depends on packages with a native part for each platform.
const perPlatform = `{"esbuild":"0.25.0","rollup":"4.34.8","sharp":"0.33.5","lightningcss":"1.29.1"}`

// nativeParts are the packages in an image that are for one platform, sorted.
func nativeParts(t *testing.T, img v1.Image) []string {
	t.Helper()
	files, _ := headers(t, img)
	rule := regexp.MustCompile(`/node_modules/((?:@[^/]+/)?[^/]*(?:linux|darwin|win32|linuxmusl)-(?:x64|arm64)[^/]*)/package\.json$`)
	var out []string
	for name := range files {
		if m := rule.FindStringSubmatch("/" + name); m != nil && !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return out
}

// parts are those of perPlatform for linux-x64 and the like, with the C library.
func parts(osCPU, libc string) []string {
	suffix, name := "", ""
	switch libc {
	case glibc:
		suffix = "-gnu"
	case musl:
		suffix, name = "-musl", musl
	}
	system, cpu, _ := strings.Cut(osCPU, "-")
	return []string{
		"@esbuild/" + osCPU, "@img/sharp-" + system + name + "-" + cpu, "@img/sharp-libvips-" + system + name + "-" + cpu,
		"@rollup/rollup-" + osCPU + suffix, "lightningcss-" + osCPU + suffix,
	}
}

// entriesOf are the images of an index by platform.
func entriesOf(t *testing.T, b Built) map[string]v1.Image {
	t.Helper()
	list, err := basePlatforms(b.Artifact)
	require.NoError(t, err)
	out := map[string]v1.Image{}
	for _, p := range list {
		out[p.name] = p.base
	}
	return out
}

// One lockfile gives every platform its own packages, on a machine of any of them.
func TestOneImageServesSeveralPlatforms(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	for _, m := range platformManagers(t) {
		t.Run(m.name, func(t *testing.T) {
			r := installRepo(t, installed{deps: perPlatform}, m)
			img := workerImage()
			img.Package, img.Run, img.Platforms = "packages/a", [][]string{m.install}, []string{"linux/arm64", "darwin/arm64", "linux/amd64"}
			opts := testOptions(t)
			b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			require.Equal(t, []string{"darwin/arm64", "linux/amd64", "linux/arm64"}, b.Platforms)
			for name, want := range map[string][]string{
				"darwin/arm64": parts("darwin-arm64", ""), "linux/arm64": parts("linux-arm64", glibc), "linux/amd64": parts("linux-x64", glibc),
			} {
				if m.name == "bun" && name != "darwin/arm64" { // its lockfile does not know C libraries
					want = append(want, parts(want[0][len("@esbuild/"):], musl)[1:]...)
				}
				slices.Sort(want)
				require.Equal(t, want, nativeParts(t, entriesOf(t, b)[name]), name)
			}
			manifest := r.Read("package.json")
			for name, entry := range entriesOf(t, b) {
				require.Equal(t, manifest, fileOf(t, Built{Artifact: entry}, "app/package.json"), "%s: it is as committed", name)
			}

			img.Platforms = []string{"linux/amd64"}
			alone, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			among, err := entriesOf(t, b)["linux/amd64"].Digest()
			require.NoError(t, err)
			require.Equal(t, alone.Digest, among.String(), "whatever else is built with it")
		})
	}
}

// An engine installs on its own platform for all of them, as the embedded builder does.
func TestARealEngineInstallsForEveryPlatform(t *testing.T) {
	opts := realEngine(t)
	if os.Getenv(noNetwork) == "1" {
		t.Skip(noNetwork + " is 1")
	}
	image := os.Getenv(nodeToolchain)
	if opts.rootfs = ""; image == "" {
		image, opts.rootfs = toolchain, programs(t, append(slices.Clone(shellPrograms), "node", "env", "sed", "dirname", "uname")...)
		withNode(t, opts.rootfs)
	}
	for _, m := range managers(t) {
		t.Run(m.name, func(t *testing.T) {
			r := installRepo(t, installed{deps: `{"esbuild":"0.25.0","lightningcss":"1.29.1"}`, root: `,"trustedDependencies":["esbuild"]`}, m)
			img := workerImage()
			img.Package, img.Toolchain, img.Platforms = "packages/a", image, []string{"darwin/arm64", "linux/amd64"}
			img.Run = [][]string{append([]string{m.name}, m.install[1:]...)}
			_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.Equal(t, release.CodeForeignScript, refused(t, err).Code, "a Mac's scripts run in no engine")

			img.Platforms = append(img.Platforms, "linux/arm64")
			img.Run = [][]string{append(append([]string{m.name}, m.install[1:]...), ignoreScripts)}
			got, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			require.Equal(t, []string{"@esbuild/darwin-arm64", "lightningcss-darwin-arm64"}, nativeParts(t, entriesOf(t, got)["darwin/arm64"]))
			img.Run = [][]string{append(slices.Clone(m.install), ignoreScripts)}
			local := testOptions(t)
			local.buildRoot = ""
			want, err := Build(t.Context(), resolve(t, r.Dir, img), local)
			require.NoError(t, err)
			require.Equal(t, want.Digest, got.Digest)
		})
	}
}

func TestAnImageForMacsHasNoBaseThere(t *testing.T) {
	base, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Base, img.Platforms = "registry.test/bun@sha256:"+strings.Repeat("a", 64), []string{"linux/amd64", "darwin/arm64"}
	img.Prove = config.Prove{}
	opts := testOptions(t)
	opts.Base = func(context.Context, string) (Artifact, error) { return base, nil }
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	all := entriesOf(t, b)
	require.Len(t, all, 2)
	mac, err := all["darwin/arm64"].ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "darwin", mac.OS)
	require.Equal(t, "arm64", mac.Architecture)
	above, err := all["darwin/arm64"].Layers()
	require.NoError(t, err)
	below, err := base.Layers()
	require.NoError(t, err)
	layers, err := all["linux/amd64"].Layers()
	require.NoError(t, err)
	require.Len(t, layers, len(below)+len(above))

	img.Platforms = []string{"linux/riscv64", "darwin/arm64"}
	_, err = Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.ErrorContains(t, err, "has no platform linux/riscv64, only linux/amd64")
}

func TestScriptsThatWouldNeedTheOtherPlatformAreNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	const trust = `,"trustedDependencies":["esbuild","bufferutil"]`
	for _, m := range append(managers(t), manager{"npm", []string{"npm", "install", "--package-lock-only"}, []string{"npm", "ci", "--omit=dev"}}) {
		t.Run(m.name, func(t *testing.T) {
			r := installRepo(t, installed{deps: `{"esbuild":"0.25.0","bufferutil":"4.0.9","semver":"7.7.1"}`, root: trust}, m)
			img := workerImage()
			img.Package, img.Run, img.Platforms = "packages/a", [][]string{m.install}, []string{"linux/amd64", "darwin/arm64"}
			_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			var refused *release.Refusal
			require.ErrorAs(t, err, &refused)
			var named []string
			for _, f := range refused.Findings {
				require.Equal(t, release.CodeForeignScript, f.Code)
				require.Contains(t, f.Message, "darwin/arm64")
				require.Contains(t, f.Hint, "--ignore-scripts")
				named = append(named, f.Object)
			}
			require.Equal(t, []string{"bufferutil@4.0.9", "esbuild@0.25.0"}, named)
			img.Platforms = []string{"linux/amd64"}
			_, err = Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			require.NoError(t, err, "on its own platform they run")
		})
	}
}

func TestWhatAnInstallLeavesOutIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	for _, m := range platformManagers(t) {
		t.Run(m.name, func(t *testing.T) {
			r := installRepo(t, installed{deps: `{"esbuild":"0.25.0"}`}, m)
			img := workerImage()
			img.Package = "packages/a"
			img.Run = [][]string{m.install, {"sh", "-c", "find . -depth -path '*@esbuild*linux-x64*' -exec rm -rf {} +"}}
			f := refused(t, buildError(t, r.Dir, img))
			require.Equal(t, release.CodePlatformPackageMissing, f.Code)
			require.Equal(t, "@esbuild/linux-x64@0.25.0", f.Object)
			require.Contains(t, f.Message, "linux/amd64")
			img.Run = [][]string{append([]string{"sh", "-c", `exec "$@"`, "sh"}, m.install...)}
			img.Platforms = []string{"linux/arm64"}
			var foreign *release.Refusal
			require.ErrorAs(t, buildError(t, r.Dir, img), &foreign)
			require.Len(t, foreign.Findings, 2, "what is there, and what is not")
			require.Equal(t, release.CodeForeignPackage, foreign.Findings[0].Code)
			require.Contains(t, foreign.Findings[0].Hint, "make the install a command of its own")
		})
	}
}

func buildError(t *testing.T, dir string, img config.Image) error {
	t.Helper()
	_, err := Build(t.Context(), resolve(t, dir, img), testOptions(t))
	require.Error(t, err)
	return err
}

func TestTheCLibraryOfABaseIsThatOfItsLoader(t *testing.T) {
	opts := testOptions(t)
	base, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	found, err := libcOf(t.Context(), base, opts)
	require.NoError(t, err)
	require.Equal(t, glibc, found)
	l, err := writeLayer(t.Context(), t.TempDir(), content{Entries: []entry{{Path: "lib/ld-musl-x86_64.so.1", Kind: kindFile}}})
	require.NoError(t, err)
	alpine, err := mutate.AppendLayers(empty.Image, l)
	require.NoError(t, err)
	for range 2 { // the second time from the cache
		found, err = libcOf(t.Context(), alpine, opts)
		require.NoError(t, err)
		require.Equal(t, musl, found)
	}
	found, err = libcOf(t.Context(), empty.Image, opts)
	require.NoError(t, err)
	require.Equal(t, glibc, found, "of a machine that brings its own runtime")
}
