package workspace

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

const worker = "packages/system-bus"

func open(t *testing.T, dir string) git.Source {
	t.Helper()
	s, err := git.Open(context.Background(), dir, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closureOf(t *testing.T, r *sample.Repo, img config.Image) (Closure, error) {
	t.Helper()
	if img.Package == "" {
		img.Package = worker
	}
	return NewClosure(context.Background(), open(t, r.Dir), img)
}

func paths(c Closure) []string {
	var out []string
	for _, f := range c.Files {
		out = append(out, f.Path)
	}
	return out
}

// refused expects a refusal with exactly one finding.
func refused(t *testing.T, err error) release.Finding {
	t.Helper()
	var r *release.Refusal
	require.ErrorAs(t, err, &r)
	require.Len(t, r.Findings, 1, "%v", err)
	return r.Findings[0]
}

func TestTheClosureIsWhatThePackageReaches(t *testing.T) {
	r := sample.New(t, sample.Options{})
	c, err := closureOf(t, r, config.Image{})
	require.NoError(t, err)
	require.Equal(t, []string{"package.json", "packages/clock", "packages/event-contract", worker, "pnpm-lock.yaml", "pnpm-workspace.yaml"}, c.Paths())
	require.Equal(t, "pnpm-lock.yaml", c.Lockfile)
	for _, p := range paths(c) {
		require.NotContains(t, p, "website")
		require.NotContains(t, p, "gateway")
		require.NotEqual(t, "README.md", p)
	}
	require.NotContains(t, string(c.CutLockfile), "packages/website", "the lockfile is cut down to the closure")
	require.Contains(t, string(c.CutLockfile), "packages/system-bus")
}

func TestTheClosureOfOtherWorkspaces(t *testing.T) {
	pkg := func(name, deps string) string { return `{"name":"` + name + `"` + deps + `}` }
	for _, tt := range []struct {
		name  string
		edits map[string]string
		img   config.Image
		want  []string // of Paths
	}{
		{"workspaces of package.json, as bun has them",
			map[string]string{"package.json": `{"name":"busrig","workspaces":{"packages":["packages/*"]}}`, "pnpm-workspace.yaml": "packages: []\n"},
			config.Image{}, []string{"package.json", "packages/system-bus", "pnpm-lock.yaml", "pnpm-workspace.yaml"}},
		{"optional and peer dependencies are followed, those of development are not",
			map[string]string{
				worker + "/package.json":        pkg("@busrig/system-bus", `,"optionalDependencies":{"@busrig/clock":"workspace:^"},"devDependencies":{"@busrig/gateway":"workspace:*"}`),
				"packages/clock/package.json":   pkg("@busrig/clock", `,"peerDependencies":{"@busrig/website":"workspace:*"}`),
				"packages/website/package.json": pkg("@busrig/website", ``),
			},
			config.Image{}, []string{"package.json", "packages/clock", worker, "packages/website", "pnpm-lock.yaml", "pnpm-workspace.yaml"}},
		{"a workspace link by path, an alias, and a link to a folder of the repository",
			map[string]string{
				worker + "/package.json":        pkg("@busrig/system-bus", `,"dependencies":{"tick":"workspace:@busrig/clock@*","gw":"workspace:../gateway","tool":"link:../../vendor/tool"}`),
				"packages/gateway/package.json": pkg("@busrig/gateway", ``),
				"vendor/tool/package.json":      pkg("tool", ``),
			},
			config.Image{}, []string{"package.json", "packages/clock", "packages/gateway", worker, "pnpm-lock.yaml", "pnpm-workspace.yaml", "vendor/tool"}},
		{"circles end",
			map[string]string{"packages/clock/package.json": pkg("@busrig/clock", `,"dependencies":{"@busrig/system-bus":"workspace:*"}`)},
			config.Image{}, []string{"package.json", "packages/clock", "packages/event-contract", worker, "pnpm-lock.yaml", "pnpm-workspace.yaml"}},
		{"files of the root that say how to install, patches, extended tsconfigs, and what is included",
			map[string]string{
				".npmrc": "node-linker=isolated\n", "patches/a.patch": "", "patches/unused.patch": "", "assets/x.txt": "",
				"package.json":       `{"name":"busrig","pnpm":{"patchedDependencies":{"a@1.0.0":"patches/a.patch"}}}`,
				"tsconfig.base.json": "{}", "tsconfig.other.json": "{}",
				worker + "/tsconfig.json": "{ // comment\n \"extends\": \"../../tsconfig.base\" }",
			},
			config.Image{Include: []string{"assets"}},
			[]string{".npmrc", "assets/x.txt", "package.json", "packages/clock", "packages/event-contract", worker, "patches/a.patch", "pnpm-lock.yaml", "pnpm-workspace.yaml", "tsconfig.base.json"}},
		{"a package without links needs no workspace",
			map[string]string{"alone/package.json": pkg("alone", ``)},
			config.Image{Package: "alone/"}, []string{"alone", "package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sample.New(t, sample.Options{Edits: tt.edits})
			if tt.name == "workspaces of package.json, as bun has them" {
				r.Remove("pnpm-workspace.yaml")
				tt.want = []string{"package.json", "packages/clock", "packages/event-contract", worker, "pnpm-lock.yaml"}
			}
			c, err := closureOf(t, r, tt.img)
			require.NoError(t, err)
			require.Equal(t, tt.want, c.Paths())
		})
	}
}

func TestAPackageInsideAnotherGoesInOnlyIfLinked(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{
		"pnpm-workspace.yaml":                "packages: ['packages/**']\n",
		worker + "/plugins/one/package.json": `{"name":"one"}`,
		worker + "/plugins/one/index.ts":     "",
		worker + "/plugins/notes.txt":        "",
	}})
	c, err := closureOf(t, r, config.Image{})
	require.NoError(t, err)
	require.NotContains(t, paths(c), worker+"/plugins/one/index.ts")
	require.Contains(t, paths(c), worker+"/plugins/notes.txt")
}

func TestAClosureThatCannotBeIsRefused(t *testing.T) {
	const manifest = worker + "/package.json"
	dep := func(name, spec string) map[string]string {
		return map[string]string{manifest: `{"name":"@busrig/system-bus","dependencies":{"` + name + `":"` + spec + `"}}`}
	}
	for _, tt := range []struct {
		name         string
		edits        map[string]string
		img          config.Image
		code, object string
		says         []string
	}{
		{"a linked package that is not there", dep("@busrig/gone", "workspace:*"), config.Image{}, "PackageMissing", manifest, []string{"@busrig/gone", "workspace:*"}},
		{"a link out of the repository", dep("sdk", "link:../../../sdk"), config.Image{}, "LinkOutside", manifest, []string{"sdk", "link:../../../sdk"}},
		{"an absolute file", dep("sdk", "file:/srv/sdk"), config.Image{}, "LinkOutside", manifest, []string{"sdk", "/srv/sdk"}},
		{"a link to a folder that is not there", dep("sdk", "link:../sdk"), config.Image{}, "PackageMissing", manifest, []string{"sdk", "link:../sdk"}},
		{"an override of the root that leads out", map[string]string{"package.json": `{"pnpm":{"overrides":{"sdk":"link:../sdk"}}}`}, config.Image{}, "LinkOutside", "package.json", []string{"sdk"}},
		{"a patch that is not there", map[string]string{"package.json": `{"pnpm":{"patchedDependencies":{"a@1.0.0":"patches/a.patch"}}}`}, config.Image{}, "PatchMissing", "patches/a.patch", []string{"a@1.0.0"}},
		{"a package that is not there", nil, config.Image{Package: "packages/nope"}, "PackageMissing", "packages/nope/package.json", nil},
		{"an include that is not there", nil, config.Image{Include: []string{"assets"}}, "IncludeMissing", "assets", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sample.New(t, sample.Options{Edits: tt.edits})
			_, err := closureOf(t, r, tt.img)
			f := refused(t, err)
			require.EqualValues(t, tt.code, f.Code)
			require.Equal(t, tt.object, f.Object)
			for _, s := range tt.says {
				require.Contains(t, f.Message, s)
			}
		})
	}
	t.Run("a workspace package deleted from the tree", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		r.Remove("packages/clock")
		_, err := closureOf(t, r, config.Image{})
		f := refused(t, err)
		require.Equal(t, "packages/event-contract/package.json", f.Object)
		require.Contains(t, f.Message, "@busrig/clock")
	})
	t.Run("all that is wrong is named at once", func(t *testing.T) {
		r := sample.New(t, sample.Options{Edits: map[string]string{
			manifest: `{"dependencies":{"a":"workspace:*","b":"link:../../../b","c":"workspace:*"}}`,
		}})
		_, err := closureOf(t, r, config.Image{})
		var all *release.Refusal
		require.ErrorAs(t, err, &all)
		require.Len(t, all.Findings, 3)
	})
}

func TestLinksAndSubmodulesInTheClosure(t *testing.T) {
	link := func(t *testing.T, target string) error {
		t.Helper()
		r := sample.New(t, sample.Options{})
		require.NoError(t, os.Symlink(target, filepath.Join(r.Dir, worker, "link")))
		r.Commit("link", nil)
		_, err := closureOf(t, r, config.Image{})
		return err
	}
	for _, target := range []string{"/etc/passwd", "../../../outside", "../../.."} {
		t.Run("a link to "+target+" is refused by name", func(t *testing.T) {
			f := refused(t, link(t, target))
			require.Equal(t, release.CodeLinkOutside, f.Code)
			require.Equal(t, worker+"/link", f.Object)
			require.Contains(t, f.Message, target)
		})
	}
	t.Run("a link inside the repository goes in, and with it the file that it leads to", func(t *testing.T) {
		r := sample.New(t, sample.Options{Edits: map[string]string{"notes/a.txt": "a", "notes/b.txt": "b"}})
		require.NoError(t, os.Symlink("../../notes/second", filepath.Join(r.Dir, worker, "link")))
		require.NoError(t, os.Symlink("a.txt", filepath.Join(r.Dir, "notes", "second")))
		r.Commit("links", nil)
		c, err := closureOf(t, r, config.Image{})
		require.NoError(t, err)
		require.Contains(t, paths(c), worker+"/link")
		require.Contains(t, paths(c), "notes/second")
		require.Contains(t, paths(c), "notes/a.txt")
		require.NotContains(t, paths(c), "notes/b.txt")
	})
	t.Run("a link to a folder that does not go in is refused by name", func(t *testing.T) {
		r := sample.New(t, sample.Options{Edits: map[string]string{"notes/a.txt": "a"}})
		require.NoError(t, os.Symlink("../../notes", filepath.Join(r.Dir, worker, "link")))
		r.Commit("link", nil)
		_, err := closureOf(t, r, config.Image{})
		f := refused(t, err)
		require.Equal(t, release.CodeLinkDangling, f.Code)
		require.Equal(t, worker+"/link", f.Object)
		require.Contains(t, f.Hint, "notes under include")
		c, err := closureOf(t, r, config.Image{Include: []string{"notes"}})
		require.NoError(t, err)
		require.Contains(t, paths(c), "notes/a.txt")
	})
	t.Run("a link to what an install will make is left as it is", func(t *testing.T) {
		require.NoError(t, link(t, "node_modules/hono/dist"))
	})
	t.Run("a submodule is refused by name", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		r.Git("update-index", "--add", "--cacheinfo", "160000,"+r.Git("rev-parse", "HEAD")+","+worker+"/vendor")
		r.Git("commit", "-q", "-m", "submodule")
		_, err := closureOf(t, r, config.Image{})
		f := refused(t, err)
		require.Equal(t, release.CodeSubmodule, f.Code)
		require.Equal(t, worker+"/vendor", f.Object)
	})
	t.Run("outside the closure neither matters", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(r.Dir, "packages/website/link")))
		r.Commit("link", nil)
		_, err := closureOf(t, r, config.Image{})
		require.NoError(t, err)
	})
}

func TestPointersOfGitLFSAreRefusedByPath(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	r := sample.New(t, sample.Options{Edits: map[string]string{
		".gitattributes":           "*.bin filter=lfs diff=lfs merge=lfs -text\n",
		worker + "/model.bin":      pointer,
		"packages/clock/two.bin":   pointer,
		"packages/website/not.bin": pointer,
		worker + "/spec.md":        "See version https://git-lfs.github.com/spec/v1\n",
	}})
	_, err := closureOf(t, r, config.Image{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	var paths []string
	for _, f := range refusal.Findings {
		require.Equal(t, release.CodeLFSPointer, f.Code)
		paths = append(paths, f.Object)
	}
	require.Equal(t, []string{"packages/clock/two.bin", worker + "/model.bin"}, paths, "those of the closure, and all of them")
}

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		globs string
		in    string
		out   string
	}{
		{"packages/*", "packages/a", "packages a/packages/b packages/a/b"},
		{"packages/**", "packages packages/a packages/a/b", "package other/a"},
		{"**", "a a/b", ""},
		{"./apps/web packages/{a,b}", "apps/web packages/a packages/b", "packages/c apps/web2"},
		{"packages/* !packages/x", "packages/a", "packages/x"},
		{"packages/a?c", "packages/abc", "packages/ac packages/a/c"},
	} {
		match, err := globSet(strings.Fields(tt.globs))
		require.NoError(t, err)
		for _, dir := range strings.Fields(tt.in) {
			require.True(t, match(dir), "%s matches %s", tt.globs, dir)
		}
		for _, dir := range strings.Fields(tt.out) {
			require.False(t, match(dir), "%s does not match %s", tt.globs, dir)
		}
	}
}
