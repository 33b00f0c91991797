package pipeline

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/release"
)

// Variables of the tests with a real engine.
const (
	withEngine    = "SHIPIT_TEST_DAGGER"           // 1: reached in the standard way
	nodeToolchain = "SHIPIT_TEST_DAGGER_TOOLCHAIN" // an image by digest with node, pnpm and bun, which the engine can pull; without it, programs of this machine
	noNetwork     = "SHIPIT_TEST_DAGGER_OFFLINE"   // 1: packages are not installed, because npm cannot be reached
	killEngine    = "SHIPIT_TEST_DAGGER_KILL"      // a shell command that kills the engine
	engineProxy   = "SHIPIT_TEST_DAGGER_PROXY"     // HTTPS_PROXY of commands in the engine
)

// shellPrograms are what the commands of these tests run.
var shellPrograms = []string{"sh", "mkdir", "pwd", "ln", "date", "tee", "cat", "sleep", "test", "touch", "chmod", "rm", "nproc", "taskset"}

// realEngine are the options of a build in a real engine. The toolchain is made of
// programs of this machine, so that no registry is needed.
func realEngine(t *testing.T) Options {
	t.Helper()
	if os.Getenv(withEngine) != "1" {
		t.Skip(withEngine + "=1 builds with a real Dagger engine, reached in the standard way")
	}
	opts := testOptions(t)
	opts.Builder, opts.buildRoot, opts.rootfs = "dagger", "", programs(t, shellPrograms...)
	opts.Progress = func(e release.Event) { t.Log(e.Mark, e.Message, e.Took) }
	return opts
}

// programs is a root file system with programs of this machine and their libraries.
func programs(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		addProgram(t, root, name)
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "tmp"), 0o755))
	return root
}

// addProgram adds a program of this machine, and its libraries, to a root file system.
func addProgram(t *testing.T, root, name string) {
	t.Helper()
	put := func(from, at string) {
		real, err := filepath.EvalSymlinks(from)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, at)), 0o755))
		if _, err := os.Stat(filepath.Join(root, at)); err != nil {
			require.NoError(t, copyFile(real, filepath.Join(root, at), 0o755))
		}
	}
	at, err := exec.LookPath(name)
	require.NoError(t, err)
	put(at, "/bin/"+name)
	libraries, err := exec.Command("ldd", at).Output()
	require.NoError(t, err, "needs ldd, and programs that have libraries")
	for _, word := range strings.Fields(string(libraries)) {
		if filepath.IsAbs(word) {
			put(word, word)
		}
	}
}

func TestARealEngine(t *testing.T) {
	t.Run("gives the digest of the embedded builder", func(t *testing.T) {
		opts := realEngine(t)
		r := sample.New(t, sample.Options{})
		img := workerImage()
		img.Toolchain = toolchain
		img.Caches = []string{"packages/system-bus/.turbo", ".next/cache", "unused/cache"}
		img.Run = [][]string{
			{"sh", "-c", "mkdir -p -m 700 made && echo made > made/file && pwd > packages/system-bus/where && ln -s $PWD/made packages/system-bus/link"},
			{"sh", "-c", "cd packages/system-bus/src && rm serve.ts && mkdir serve.ts && echo in > serve.ts/index && chmod 755 ../package.json && ln ../package.json ../same && rm -r ../../../made && ln -s $PWD ../../../made"},
			{"sh", "-c", "mkdir -p packages/system-bus/.turbo .next/cache && date | tee .next/cache/at > packages/system-bus/.turbo/at"},
		}
		img.Test = [][]string{{"test", "-d", "made"}}
		in := resolve(t, r.Dir, img)
		local := testOptions(t)
		local.buildRoot = ""
		want, err := Build(t.Context(), in, local)
		require.NoError(t, err)
		got, err := Build(t.Context(), in, opts)
		require.NoError(t, err)
		require.Equal(t, want.Digest, got.Digest)
		_, err = checkReproducible(t.Context(), in, opts)
		require.NoError(t, err)
	})
	t.Run("names what a comparison finds", func(t *testing.T) {
		opts := realEngine(t)
		r := sample.New(t, sample.Options{})
		for name, script := range map[string]string{
			"stores": `s="$npm_config_store_dir"; { test -e "$s/seen" && echo warm || echo cold; }; mkdir -p "$s"; touch "$s/seen"`,
			"umask":  "umask", "day": "date +%F", "CPUs": "nproc", "folder": `printf '\0%s' "$PWD"`,
		} {
			img := workerImage()
			img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", "{ " + script + "; } > packages/system-bus/seen"}}
			_, err := checkReproducible(t.Context(), resolve(t, r.Dir, img), opts)
			var differs *NotReproducibleError
			require.ErrorAs(t, err, &differs, name)
			require.Equal(t, "/app/packages/system-bus/seen", differs.Path, name)
		}
	})
	t.Run("tells the start, the output and the end of each command, and nothing else", func(t *testing.T) {
		opts := realEngine(t)
		var said []string
		took := map[string]time.Duration{}
		opts.Progress = func(e release.Event) {
			said = append(said, string(e.Mark)+" "+e.Message)
			took[e.Message] = e.Took
		}
		img := workerImage()
		img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", "echo first; sleep 0.1; date +%N"}, {"sh", "-c", "echo second"}}
		opts.NoCache = true
		_, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
		require.NoError(t, err)
		require.Len(t, said, 12)
		require.Regexp(t, `^note builder: dagger, by .*, engine v\d+\.\d+\.\d+`, said[0])
		said[5] = "step of the time"
		require.Equal(t, []string{
			"start put worker into the engine", "done put worker into the engine",
			"start run sh -c echo first; sleep 0.1; date +%N", "step first", "step of the time", "done ran sh -c echo first; sleep 0.1; date +%N",
			"start run sh -c echo second", "step second", "done ran sh -c echo second", "start take worker out of the engine", "done took worker out of the engine",
		}, said[1:])
		// An engine's own time of a command is of the command alone.
		require.Greater(t, took["ran "+strings.Join(img.Run[0], " ")], 100*time.Millisecond)
		said = nil
		opts.NoCache, opts.CacheDir = false, t.TempDir()
		in := resolve(t, sample.New(t, sample.Options{}).Dir, img)
		_, err = Build(t.Context(), in, opts)
		require.NoError(t, err)
		opts.CacheDir, said = t.TempDir(), nil
		_, err = Build(t.Context(), in, opts)
		require.NoError(t, err)
		// An engine may take a moment to find a result: then it is told as a run, with what was printed.
		asBefore := slices.Contains(said, "done sh -c echo second: as before, the engine has its result")
		require.NotEqual(t, asBefore, slices.Contains(said, "step second"))
	})
	t.Run("repeats no install for a change of the source", func(t *testing.T) {
		opts := realEngine(t)
		script := "#!/bin/sh\nmkdir -p node_modules/.pnpm/made && date +%N > node_modules/.pnpm/made/at\n"
		require.NoError(t, os.WriteFile(filepath.Join(opts.rootfs, "bin", "pnpm"), []byte(script), 0o755))
		r := sample.New(t, sample.Options{})
		img := workerImage()
		img.Toolchain, img.Run = toolchain, [][]string{{"pnpm", "install"}, {"sh", "-c", "cat packages/system-bus/src/serve.ts > packages/system-bus/built"}}
		first, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
		second, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, "// changed\n", fileOf(t, second, "app/packages/system-bus/built"))
		const made = "app/node_modules/.pnpm/made/at"
		require.Equal(t, fileOf(t, first, made), fileOf(t, second, made))
		r.Commit("manifest", map[string]string{".npmrc": "color=false\n"})
		third, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.NotEqual(t, fileOf(t, first, made), fileOf(t, third, made))
	})
	t.Run("has the certificates of the caller, and no layer has them", func(t *testing.T) {
		opts := realEngine(t)
		certificate := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(certificate, []byte("of the caller"), 0o600))
		t.Setenv("NODE_EXTRA_CA_CERTS", certificate)
		t.Setenv("SSL_CERT_DIR", filepath.Dir(certificate))
		t.Setenv("NPM_CONFIG_KEYFILE", certificate)
		img := workerImage()
		img.Toolchain = toolchain
		img.Run = [][]string{{"sh", "-ec", `cat "$NODE_EXTRA_CA_CERTS" "$SSL_CERT_DIR/ca.pem" "$NPM_CONFIG_KEYFILE" > packages/system-bus/seen`}}
		b, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("of the caller", 3), fileOf(t, b, "app/packages/system-bus/seen"))
		for name := range headersOf(t, b) {
			require.NotContains(t, name, "ca.pem")
		}
	})
	t.Run("refuses packages of another platform", func(t *testing.T) {
		opts := realEngine(t)
		img := workerImage()
		img.Toolchain, img.Platforms = toolchain, []string{"linux/amd64", "linux/arm64"}
		img.Run = [][]string{{"sh", "-ec", `mkdir -p node_modules/x; echo '{"name":"@esbuild/linux-x64","os":["linux"],"cpu":["x64"]}' > node_modules/x/package.json`}}
		_, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
		require.ErrorContains(t, err, "@esbuild/linux-x64")
		require.ErrorContains(t, err, "linux/arm64")
	})
	t.Run("names a toolchain that it cannot get, and does not take that for its own end", func(t *testing.T) {
		opts := realEngine(t)
		opts.rootfs = ""
		img := workerImage()
		img.Toolchain, img.Run = "localhost:1/none@sha256:"+strings.Repeat("0", 64), [][]string{{"true"}}
		_, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
		require.ErrorContains(t, err, "the engine cannot get the toolchain "+img.Toolchain)
	})
	t.Run("says how a command failed", func(t *testing.T) {
		opts := realEngine(t)
		img := workerImage()
		img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", "echo first; echo second >&2; exit 3"}}
		_, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
		var failed *CommandError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, img.Run[0], failed.Args)
		require.ErrorContains(t, failed, "exit status 3")
		require.Equal(t, []string{"first", "second"}, failed.Tail)
	})
}

// The engine is gone afterwards: this test runs alone.
func TestARealEngineThatIsKilled(t *testing.T) {
	kill := os.Getenv(killEngine)
	if kill == "" {
		t.Skip(killEngine + " is no command that kills the engine")
	}
	opts := realEngine(t)
	var killed time.Time
	opts.Progress = func(e release.Event) {
		t.Log(e.Mark, e.Message)
		if e.Message == "started" && killed.IsZero() {
			killed = time.Now()
			out, err := exec.Command("sh", "-c", kill).CombinedOutput()
			assert.NoError(t, err, "%s", out)
		}
	}
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"sh", "-c", "echo started; sleep 60"}}
	_, err := Build(t.Context(), resolve(t, sample.New(t, sample.Options{}).Dir, img), opts)
	var broken *engine.BrokenError
	require.ErrorAs(t, err, &broken)
	require.NotContains(t, err.Error(), "{")
	require.NotEmpty(t, broken.Hint())
	require.Less(t, time.Since(killed), 3*time.Second)
}

// withNode adds node, pnpm and bun of this machine to a root file system.
func withNode(t *testing.T, root string) {
	t.Helper()
	for _, m := range managers(t) {
		at, err := filepath.EvalSymlinks(m.install[0])
		require.NoError(t, err)
		if m.name == "bun" {
			require.NoError(t, copyFile(at, filepath.Join(root, "bin", m.name), 0o755))
			continue
		}
		to := filepath.Join(root, "opt", m.name)
		require.NoError(t, os.MkdirAll(to, 0o755))
		require.NoError(t, installCache{}.copy(t.Context(), filepath.Dir(filepath.Dir(at)), to))
		script := "#!/bin/sh\nexec node /opt/" + m.name + "/bin/" + filepath.Base(at) + " \"$@\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(root, "bin", m.name), []byte(script), 0o755))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr", "bin"), 0o755))
	require.NoError(t, os.Symlink("../../bin/env", filepath.Join(root, "usr", "bin", "env")))
}

func TestARealEngineInstallsTheSameColdAndWarm(t *testing.T) {
	if os.Getenv(noNetwork) == "1" {
		t.Skip(noNetwork + " is 1")
	}
	image := os.Getenv(nodeToolchain)
	rootfs := ""
	if image == "" && os.Getenv(withEngine) == "1" {
		image, rootfs = toolchain, programs(t, append(slices.Clone(shellPrograms), "node", "env", "sed", "dirname", "uname")...)
		withNode(t, rootfs)
	}
	for _, m := range managers(t) {
		for _, i := range installs("") {
			if i.name == "a git repository" {
				continue // it is on this machine, and the engine may be on another
			}
			t.Run(m.name+": "+i.name, func(t *testing.T) {
				opts := realEngine(t)
				opts.rootfs = rootfs
				r := installRepo(t, i, m)
				img := workerImage()
				img.Package, img.Run, img.Toolchain = "packages/a", [][]string{append([]string{m.name}, m.install[1:]...)}, image
				t.Setenv("HTTPS_PROXY", os.Getenv(engineProxy))
				b, err := checkReproducible(t.Context(), resolve(t, r.Dir, img), opts)
				require.NoError(t, err)
				t.Setenv("HTTPS_PROXY", "")
				for end, text := range i.has {
					requireFile(t, b, end, text)
				}
				img.Run = [][]string{m.install} // by its path on this machine
				local := testOptions(t)
				local.buildRoot = ""
				want, err := Build(t.Context(), resolve(t, r.Dir, img), local)
				require.NoError(t, err)
				require.Equal(t, want.Digest, b.Digest, "as the embedded builder installs")
			})
		}
	}
}
