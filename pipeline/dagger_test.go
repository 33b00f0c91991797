package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

const treeRoot = buildRoot + "/app"

const toolchain = "docker.io/library/node@sha256:0000000000000000000000000000000000000000000000000000000000000000"

func daggerOptions(t *testing.T) (Options, *standIn) {
	t.Helper()
	s := &standIn{t: t}
	opts := testOptions(t)
	opts.Builder, opts.conn = "dagger", s
	return opts, s
}

func TestBothBuildersGiveOneDigest(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for name, change := range map[string]func(*config.Image){
		"of the sample": func(*config.Image) {},
		"of commands": func(i *config.Image) {
			i.Run = [][]string{{"sh", "-c", "cd packages/system-bus && mkdir -p -m 700 node_modules/.cache empty && date +%N > node_modules/.modules.yaml && echo made > made && chmod 700 made"}}
		},
		"of caches in the tree": func(i *config.Image) {
			i.Caches = []string{"packages/system-bus/.turbo/", treeRoot + "/.cache/made"}
			i.Run = [][]string{{"sh", "-c", "mkdir -p packages/system-bus/.turbo .cache/made && date +%N | tee .cache/made/now > packages/system-bus/.turbo/now && echo kept > .cache/kept"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			img := workerImage()
			img.Toolchain = toolchain
			change(&img)
			in := resolve(t, r.Dir, img)
			local, err := Build(context.Background(), in, testOptions(t))
			require.NoError(t, err)
			opts, engine := daggerOptions(t)
			remote, err := Build(context.Background(), in, opts)
			require.NoError(t, err)
			require.Equal(t, "embedded", local.Builder)
			require.Equal(t, "dagger", remote.Builder)
			require.Equal(t, local.Digest, remote.Digest)
			require.True(t, engine.closed)
		})
	}
}

func TestTheQueriesOfADaggerBuild(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("NPM_TOKEN", "s3cret")
	t.Setenv("NPM_CONFIG_REGISTRY", "https://registry.test")
	t.Setenv("NPM_CONFIG__AUTH", "s3cret-too")
	t.Setenv("HTTPS_PROXY", "http://me:s3cret@proxy.test:3128")
	img := workerImage()
	img.Toolchain, img.Secrets, img.Caches = toolchain, []string{"NPM_TOKEN", "UNSET"}, []string{"/root/.bun"}
	img.Run = [][]string{{"true", "install"}, {"true", "build"}}
	img.Test = [][]string{{"true", "test"}}
	opts, engine := daggerOptions(t)
	_, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)

	c := engine.exported()
	require.Equal(t, "linux/amd64", c.all("container")[0].args["platform"])
	require.Equal(t, toolchain, c.all("from")[0].args["address"])
	require.Equal(t, "0:0", c.all("withUser")[0].args["name"], "the closure and the caches are root's")
	require.Equal(t, treeRoot, c.all("withDirectory")[0].args["path"])
	require.Equal(t, treeRoot, c.all("withWorkdir")[0].args["path"])

	caches := map[any]any{}
	for _, m := range c.all("withMountedCache") {
		caches[m.args["path"]] = engine.object(m.args["cache"])[0].args["key"]
	}
	const volume = `shipit source="https://github.com/busrig/busrig" app="" image="worker" repository="registry.test/worker" platform="linux/amd64" path=`
	require.Equal(t, map[any]any{buildRoot + "/home/caches": volume + `"/tmp/shipit-build/home/caches"`, "/root/.bun": volume + `"/root/.bun"`}, caches)

	env := map[any]any{}
	for _, e := range c.all("withEnvVariable") {
		env[e.args["name"]] = e.args["value"]
	}
	require.Equal(t, "0", env["SOURCE_DATE_EPOCH"])
	require.Equal(t, "https://registry.test", env["NPM_CONFIG_REGISTRY"])
	require.NotContains(t, env, "PATH")
	require.NotContains(t, fmt.Sprint(env), "s3cret")

	secrets := map[any]any{}
	for _, x := range c.all("withSecretVariable") {
		secrets[x.args["name"]] = engine.object(x.args["secret"])[0].args["plaintext"]
	}
	require.Equal(t, map[any]any{"NPM_TOKEN": "s3cret", "NPM_CONFIG__AUTH": "s3cret-too", "HTTPS_PROXY": "http://me:s3cret@proxy.test:3128"}, secrets)

	var commands []string
	for _, e := range c.all("withExec") {
		args := e.args["args"].([]any)
		commands = append(commands, fmt.Sprint(args[4:]))
	}
	require.Equal(t, []string{"[true install]", "[true build]"}, commands)
	var tested int
	for _, c := range engine.asked {
		if c[len(c)-1].name == "sync" && len(c.all("withExec")) == 3 {
			tested++
		}
	}
	require.Equal(t, 1, tested, "tests run on what the commands left")
}

func TestASilentEngineIsNamed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	named := filepath.Join(t.TempDir(), "named")
	script := "until test -e " + named + "; do sleep 0.02; done"
	img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", script}}
	opts, _ := daggerOptions(t)
	opts.silence = 150 * time.Millisecond
	opts.Progress = func(e release.Event) {
		if strings.HasPrefix(e.Message, "`sh -c "+script+"` has printed nothing for ") {
			require.NoError(t, os.WriteFile(named, nil, 0o600))
		}
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err, "it ends once it is named")
}

func TestACommandThatFailsInTheEngine(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("NPM_TOKEN", "s3cret")
	img := workerImage()
	img.Toolchain, img.Secrets = toolchain, []string{"NPM_TOKEN"}
	img.Run = [][]string{{"sh", "-c", "echo cannot use $NPM_TOKEN >&2; exit 3"}}
	opts, engine := daggerOptions(t)
	engine.env = []string{"NPM_TOKEN=s3cret"}
	_, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
	var failed *CommandError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, img.Run[0], failed.Args)
	require.ErrorContains(t, err, "exit status 3")
	require.Equal(t, []string{"cannot use ***"}, failed.Tail)

	img.Run = [][]string{{"/bin/sh", "-c", `exit "$1"`, "sh", "4", "more"}}
	_, err = Build(context.Background(), resolve(t, r.Dir, img), opts)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, img.Run[0], failed.Args, "a shell of the user's own is part of the command")
}

// What an install reads and the rest of the closure are two folders. A third one with all of
// it is written only if the source cannot follow the install.
func TestTheClosureIsWrittenOnceForAnInstall(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		whole  bool
	}{
		"followed by the source":                 {"", false},
		"that makes a file of the source itself": {"echo made > packages/system-bus/src/serve.ts", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample.New(t, sample.Options{})
			fakePnpm(t, "mkdir -p packages/system-bus/src; "+tc.script)
			t.Setenv("TMPDIR", t.TempDir())
			img := workerImage()
			img.Toolchain, img.Run = toolchain, [][]string{{"pnpm", "install"}, {"true"}}
			opts, engine := daggerOptions(t)
			whole := false
			engine.before = func(chain) {
				found, err := filepath.Glob(filepath.Join(os.TempDir(), "shipit-dagger-*", "batch-*", "closure"))
				whole = whole || err != nil || len(found) > 0
			}
			_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
			require.NoError(t, err)
			require.Equal(t, tc.whole, whole)
		})
	}
}
