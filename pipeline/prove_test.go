package pipeline

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/bunbase"
)

func provenImage() config.Image {
	img := workerImage()
	img.Prove = config.Prove{}
	return img
}

// tryBuild builds the sample with some edits, on the worker's image.
func tryBuild(t *testing.T, edits map[string]string, img config.Image) error {
	t.Helper()
	r := sample.New(t, sample.Options{Edits: edits})
	cfg := config.Config{Images: map[string]config.Image{"worker": img}}
	in, err := Resolve(context.Background(), openSource(t, r.Dir, ""), cfg, "worker")
	if err != nil {
		return err
	}
	_, err = Build(context.Background(), in, testOptions(t))
	return err
}

func TestTheSampleIsProven(t *testing.T) {
	require.NoError(t, tryBuild(t, nil, provenImage()))
}

func TestWhatWouldNotStartIsRefusedBeforeThePush(t *testing.T) {
	const (
		serve    = worker + "/src/serve.ts"
		manifest = worker + "/package.json"
		contract = "packages/event-contract/src/index.ts"
	)
	install := func(i *config.Image) {
		i.Run = [][]string{{"sh", "-ec", `n=node_modules/hoisted; mkdir -p $n; echo '{"name":"hoisted","main":"i.js"}' > $n/package.json; echo 'module.exports = 1' > $n/i.js
			mkdir -p packages/system-bus/node_modules/@busrig packages/event-contract/node_modules/@busrig
			ln -s ../../../event-contract packages/system-bus/node_modules/@busrig/; ln -s ../../../clock packages/event-contract/node_modules/@busrig/`}}
	}
	for _, tt := range []struct {
		name         string
		edits        map[string]string
		img          func(*config.Image)
		code, object string
		says         []string
	}{
		{"a workspace package that nobody declares",
			map[string]string{contract: "import { page } from \"@busrig/website\";\nexport const x = page;\n"}, nil,
			"ImportUnresolved", contract + ":1", []string{"@busrig/website", "packages/event-contract/package.json does not declare"}},
		{"a dependency that no install brought",
			map[string]string{serve: "\nimport { Hono } from \"hono\";\nnew Hono();\n"}, nil,
			"ImportUnresolved", serve + ":2", []string{"hono"}},
		{"a file that was not committed",
			map[string]string{serve: "import \"./forgotten\";\n"}, nil,
			"ImportUnresolved", serve + ":1", []string{"./forgotten"}},
		{"a dependency that resolves only by hoisting",
			map[string]string{serve: "import \"@busrig/event-contract\";\nimport hoisted from \"hoisted/i.js\";\nconsole.log(hoisted);\n"}, install,
			"DependencyUndeclared", serve + ":2", []string{"hoisted/i.js", manifest}},
		{"an export that is not there",
			map[string]string{serve: "import { gone } from \"@busrig/event-contract\";\ngone();\n"}, nil,
			"ExportMissing", serve + ":1", []string{"gone"}},
		{"syntax that no runtime accepts",
			map[string]string{serve: "\n\nconst const = 1;\n"}, nil,
			"SyntaxRejected", serve + ":3", nil},
		{"an entrypoint that is not there",
			nil, func(i *config.Image) { i.Entrypoint = []string{"bun", "run", "src/start.ts"} },
			"EntrypointMissing", worker + "/src/start.ts", nil},
		{"a lockfile that was not made from the manifest",
			map[string]string{manifest: `{"name":"@busrig/system-bus","dependencies":{"@busrig/event-contract":"workspace:*","hono":"^4.0.0"}}`}, nil,
			"LockfileStale", manifest, []string{"pnpm-lock.yaml", "hono", "^4.0.0"}},
		{"a link out of the repository",
			map[string]string{manifest: `{"name":"@busrig/system-bus","dependencies":{"sdk":"link:../../../sdk"}}`}, nil,
			"LinkOutside", manifest, []string{"sdk", "link:../../../sdk"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := provenImage()
			if tt.img != nil {
				tt.img(&img)
			}
			f := refused(t, tryBuild(t, tt.edits, img))
			require.EqualValues(t, tt.code, f.Code)
			require.Equal(t, tt.object, f.Object)
			for _, s := range tt.says {
				require.Contains(t, f.Message, s)
			}
		})
	}
	t.Run("all imports that do not resolve are named at once", func(t *testing.T) {
		err := tryBuild(t, map[string]string{serve: "import a from \"a\";\nimport b from \"b\";\nconsole.log(a, b);\n"}, provenImage())
		var all *release.Refusal
		require.ErrorAs(t, err, &all)
		require.Len(t, all.Findings, 2)
	})
}

func TestWhatARuntimeDoesWithoutIsNoFault(t *testing.T) {
	const serve = worker + "/src/serve.ts"
	for name, edits := range map[string]map[string]string{
		"types, and an import in a try":         {serve: "import type { X } from \"nowhere\";\nimport { type Y } from \"nowhere-too\";\nlet z: X | Y;\ntry { require(\"optional\"); } catch {}\n"},
		"what the runtime has within itself":    {serve: "import fs from \"node:fs\";\nimport path from \"path\";\nimport { sql } from \"bun\";\nimport { Database } from \"bun:sqlite\";\nimport ws from \"ws\";\nconsole.log(fs, path, sql, Database, ws);\n"},
		"an alias of the package's tsconfig":    {serve: "import { fault } from \"@/fault\";\nconsole.log(fault);\n", worker + "/tsconfig.json": `{"compilerOptions":{"paths":{"@/*":["./src/*"]}}}`},
		"the package by its own name":           {worker + "/package.json": `{"name":"@busrig/system-bus","exports":{"./fault":"./src/fault.ts"},"dependencies":{"@busrig/event-contract":"workspace:*"}}`, serve: "import { fault } from \"@busrig/system-bus/fault\";\nconsole.log(fault);\n"},
		"files that are loaded, not run":        {serve: "import notes from \"./notes.md\";\nimport query from \"./q.sql\";\nconsole.log(notes, query);\n", worker + "/src/notes.md": "", worker + "/src/q.sql": ""},
		"what a dependency loads only if asked": {serve: "import \"dep\";\n", worker + "/node_modules/dep/index.js": "exports.lazy = () => require(\"not-installed\");\n", worker + "/package.json": `{"name":"@busrig/system-bus","dependencies":{"@busrig/event-contract":"workspace:*"},"peerDependencies":{"dep":"*"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, tryBuild(t, edits, provenImage()))
		})
	}
}

func TestTheBasesRuntimeDecidesAboutSyntax(t *testing.T) {
	base, err := bunbase.Image(context.Background())
	require.NoError(t, err)
	opts := testOptions(t)
	opts.Base = func(context.Context, string) (Artifact, error) { return base, nil }
	img := provenImage()
	img.Base = "registry.test/bun@sha256:" + strings.Repeat("a", 64)
	build := func(t *testing.T, edits map[string]string, change func(*config.Config, *config.Image)) error {
		t.Helper()
		r := sample.New(t, sample.Options{Edits: edits})
		img, cfg := img, config.Config{Roles: config.Roles{{Name: "cluster", Image: "worker", Port: 3111, Env: map[string]string{"WORKER_ROLE": "cluster"}, Kubernetes: &config.Kubernetes{}}}}
		if change != nil {
			change(&cfg, &img)
		}
		cfg.Images = map[string]config.Image{"worker": img}
		in, err := Resolve(context.Background(), openSource(t, r.Dir, ""), cfg, "worker")
		require.NoError(t, err)
		opts := opts
		opts.Progress = func(e release.Event) { t.Log(e.Message) }
		_, err = Build(context.Background(), in, opts)
		return err
	}
	t.Run("the sample is accepted", func(t *testing.T) {
		require.NoError(t, build(t, nil, nil))
	})
	t.Run("syntax that this version rejects is named with its line", func(t *testing.T) {
		edits := map[string]string{"packages/clock/src/index.ts": "\nimport defer * as fs from \"node:fs\";\nexport const nowIso = (): string => String(fs);\n"}
		require.NoError(t, tryBuild(t, edits, provenImage()), "without the runtime it passes, or this shows nothing")
		f := refused(t, build(t, edits, nil))
		require.Equal(t, release.CodeSyntaxRejected, f.Code)
		require.Equal(t, "packages/clock/src/index.ts:2", f.Object)
		require.Contains(t, f.Message, "registry.test/bun")
	})
	t.Run("a program that the base does not have is named", func(t *testing.T) {
		f := refused(t, build(t, nil, func(_ *config.Config, i *config.Image) { i.Entrypoint = []string{"/opt/bun", "run", "src/serve.ts"} }))
		require.Equal(t, release.CodeRuntimeMissing, f.Code)
		require.Contains(t, f.Message, "/opt/bun")
	})
	// crashes starts what ends before its time is over, stays what is seen to stay up.
	const crashes, stays = 30 * time.Second, 2 * time.Second
	start := func(fault string, span time.Duration) func(*config.Config, *config.Image) {
		return func(c *config.Config, i *config.Image) {
			i.Prove.Start = config.Duration(span)
			c.Roles[0].Env["FIXTURE_FAULT"] = fault
		}
	}
	t.Run("its functions have one owner each", func(t *testing.T) {
		if !canEnter() {
			t.Skip("entering an image needs root on Linux, unshare and mount")
		}
		lists := func(printed string, shared ...string) func(*config.Config, *config.Image) {
			return func(c *config.Config, i *config.Image) {
				i.Functions = []string{"bun", "--no-install", "-e", "console.log(" + strconv.Quote(printed) + ")"}
				c.Functions.AllowDuplicates = shared
			}
		}
		const twice = `{"host": ["vault-sync", "dispatch"], "cluster": ["dispatch"]}`
		require.NoError(t, build(t, nil, lists(`{"host": ["vault-sync"], "cluster": ["dispatch"]}`)))
		require.NoError(t, build(t, nil, lists(twice, "dispatch")))
		f := refused(t, build(t, nil, lists(twice)))
		require.Equal(t, release.CodeDuplicateFunction, f.Code)
		require.Equal(t, "dispatch", f.Object)
		require.Contains(t, f.Message, "cluster and host")
		require.Equal(t, release.CodeFunctionsFailed, refused(t, build(t, nil, lists("no JSON"))).Code)
	})
	t.Run("it is started as the image's user, whose home folder is its own", func(t *testing.T) {
		if !canEnter() {
			t.Skip("entering an image needs root on Linux, unshare and mount")
		}
		script := func(text string) map[string]string {
			return map[string]string{worker + "/src/serve.ts": "import fs from \"node:fs\";\n" + text + "\nsetInterval(() => {}, 1000);\n"}
		}
		require.NoError(t, build(t, script(`fs.writeFileSync(process.env.HOME + "/seen", String(process.getuid()), { flag: "wx" });`), start("", stays)))
		require.NoError(t, build(t, script(`if (fs.existsSync(process.env.HOME + "/seen")) throw new Error("what another start wrote is there");`), start("", stays)))
		f := refused(t, build(t, script(`fs.writeFileSync("/usr/local/bin/bun", "");`), start("", crashes)))
		require.Contains(t, f.Message, "EACCES", "what is root's stays root's")
	})
	t.Run("the error comes first, and no frame of its stack hides it", func(t *testing.T) {
		if !canEnter() {
			t.Skip("entering an image needs root on Linux, unshare and mount")
		}
		deep := "const deep = (n: number): void => { if (n === 0) throw new TypeError(\"no queue is configured\"); deep(n - 1); };\nconsole.log(\"starting\");\ndeep(30);\n"
		f := refused(t, build(t, map[string]string{worker + "/src/serve.ts": deep}, start("", crashes)))
		require.Regexp(t, `^ended within 30s: exit status 1: TypeError: no queue is configured`, f.Message)
		require.NotContains(t, f.Message, "at deep")
	})
	t.Run("started for a moment", func(t *testing.T) {
		if !canEnter() {
			t.Skip("entering an image needs root on Linux, unshare and mount")
		}
		require.NoError(t, build(t, nil, start("", stays)))
		began := time.Now()
		f := refused(t, build(t, nil, start("crash-on-boot", crashes)))
		require.Equal(t, release.CodeImageStartFailed, f.Code)
		require.Equal(t, "cluster", f.Role)
		require.Contains(t, f.Message, "fault: crash-on-boot")
		require.Less(t, time.Since(began), crashes, "a crash ends the wait")
		mounts, err := os.ReadFile("/proc/self/mounts")
		require.NoError(t, err)
		require.NotContains(t, string(mounts), filepath.Join(opts.CacheDir, "bases"), "nothing stays mounted")
	})
}

// canEnter reports whether a program of an image can be run in it here.
func canEnter() bool {
	_, unshare := exec.LookPath("unshare")
	_, mount := exec.LookPath("mount")
	return runtime.GOOS == "linux" && os.Geteuid() == 0 && unshare == nil && mount == nil
}
