package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// standIn answers the queries of the SDK in place of a session. It is no engine:
// it pulls no image, isolates nothing and runs commands on this machine. It
// shows which queries are asked, in which order, and that what comes out takes
// the same way as the embedded builder's content. TestARealEngine is for the rest.
type standIn struct {
	t  *testing.T
	mu sync.Mutex
	// objects are the calls that led to each id that was given out.
	objects []chain
	asked   []chain
	env     []string // of the commands that it runs
	closed  bool
	seen    func(dir string) // is told of a folder that is mounted, when it is taken
}

// call is one field of a query with its arguments.
type call struct {
	name string
	args map[string]any
}

type chain []call

func (c chain) String() string {
	var parts []string
	for _, x := range c {
		parts = append(parts, x.name)
	}
	return strings.Join(parts, ".")
}

// all are the calls of that name, in order.
func (c chain) all(name string) (out []call) {
	for _, x := range c {
		if x.name == name {
			out = append(out, x)
		}
	}
	return out
}

func (s *standIn) Host() string { return "stand-in" }

func (s *standIn) Close() error {
	s.closed = true
	return nil
}

// Do answers one GraphQL request.
func (s *standIn) Do(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body struct{ Query string }
	require.NoError(s.t, json.NewDecoder(r.Body).Decode(&body))
	doc, err := parser.ParseQuery(&ast.Source{Input: body.Query})
	require.NoError(s.t, err, body.Query)
	var c chain
	for set := doc.Operations[0].SelectionSet; len(set) == 1; {
		f := set[0].(*ast.Field)
		args := map[string]any{}
		for _, a := range f.Arguments {
			args[a.Name], err = a.Value.Value(nil)
			require.NoError(s.t, err)
		}
		c = append(c, call{f.Name, args})
		set = f.SelectionSet
	}
	s.asked = append(s.asked, c)
	answer, failed := s.answer(c)
	for i := len(c) - 1; i >= 0; i-- {
		answer = map[string]any{c[i].name: answer}
	}
	out := map[string]any{"data": answer}
	if failed != nil {
		out = map[string]any{"data": nil, "errors": []any{failed}}
	}
	data, err := json.Marshal(out)
	require.NoError(s.t, err)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(data))),
	}, nil
}

func (s *standIn) answer(c chain) (value any, failed map[string]any) {
	switch last := c[len(c)-1]; last.name {
	case "version":
		return "v0.21.8", nil
	case "combinedOutput":
		return "", nil
	case "id":
		if dir, ok := c[len(c)-2].args["path"].(string); ok && filepath.Base(dir) == "files" && s.seen != nil {
			s.seen(dir)
		}
		s.objects = append(s.objects, c)
		return fmt.Sprintf("id-%d", len(s.objects)-1), nil
	case "sync":
		s.objects = append(s.objects, c)
		return fmt.Sprintf("id-%d", len(s.objects)-1), s.play(c, s.t.TempDir())
	case "export":
		return last.args["path"], s.play(c, last.args["path"].(string))
	}
	s.t.Errorf("the stand-in does not know %s", c)
	return nil, nil
}

// object is the chain behind an id.
func (s *standIn) object(id any) chain {
	var n int
	_, err := fmt.Sscanf(id.(string), "id-%d", &n)
	require.NoError(s.t, err)
	return s.objects[n]
}

// play puts what the chain describes into the folder at.
func (s *standIn) play(c chain, at string) map[string]any {
	require.NoError(s.t, os.MkdirAll(at, 0o700))
	if c[0].name == "host" { // no command runs
		return s.put(c, at)
	}
	for _, step := range c {
		switch step.name {
		case "withDirectory":
			s.put(s.object(step.args["source"]), at)
		case "withExec":
			if failed := s.exec(step, at); failed != nil {
				return failed
			}
		}
	}
	return nil
}

// put copies the folder of this machine that the chain names into the folder at.
func (s *standIn) put(c chain, at string) map[string]any {
	require.Equal(s.t, []string{"host", "directory"}, []string{c[0].name, c[1].name})
	out, err := exec.Command("/bin/cp", "-a", c[1].args["path"].(string)+"/.", at).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	return nil
}

// exec runs a command in the folder at.
func (s *standIn) exec(e call, at string) map[string]any {
	var args []string
	for _, a := range e.args["args"].([]any) {
		args = append(args, a.(string))
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = at, append([]string{"PATH=" + os.Getenv("PATH")}, s.env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return map[string]any{"message": "process did not complete successfully", "extensions": map[string]any{
			"_type": "EXEC_ERROR", "cmd": args, "exitCode": cmd.ProcessState.ExitCode(), "stdout": stdout.String(), "stderr": stderr.String(),
		}}
	}
	return nil
}

// exported is the chain of the one query that took files out.
func (s *standIn) exported() chain {
	var found []chain
	for _, c := range s.asked {
		if c[len(c)-1].name == "export" {
			found = append(found, c)
		}
	}
	require.Len(s.t, found, 1)
	return found[0]
}

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
	require.Equal(t, treeRoot, c.all("directory")[0].args["path"], "only the tree is taken out")

	caches := map[any]any{}
	for _, m := range c.all("withMountedCache") {
		caches[m.args["path"]] = engine.object(m.args["cache"])[0].args["key"]
	}
	require.Equal(t, map[any]any{
		buildRoot + "/home/caches": "shipit-registry.test/worker/tmp/shipit-build/home/caches", "/root/.bun": "shipit-registry.test/worker/root/.bun",
	}, caches)

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
	last := engine.asked[len(engine.asked)-1]
	require.Len(t, last.all("withExec"), 3, "tests run on what the commands left, after it was taken out")
}

func TestFilesThatTheEnvironmentNamesGoIntoTheEngine(t *testing.T) {
	r := sample.New(t, sample.Options{})
	dir := t.TempDir()
	write := func(name, text string) string {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
		return at
	}
	for _, kv := range os.Environ() { // whatever this machine has
		if name, _, _ := strings.Cut(kv, "="); namesFiles(name) {
			t.Setenv(name, "")
		}
	}
	t.Setenv("NODE_EXTRA_CA_CERTS", write("extra.pem", "extra"))
	t.Setenv("SSL_CERT_DIR", filepath.Dir(write("a/one.pem", "one"))+":"+filepath.Dir(write("b/one.pem", "other one")))
	require.NoError(t, os.Symlink("../extra.pem", filepath.Join(dir, "b", "linked.0")))
	t.Setenv("npm_config_cafile", write("npm.pem", "npm"))
	t.Setenv("NPM_CONFIG_KEYFILE", write("key.pem", "s3cret"))
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	files := map[string]string{}
	engine.seen = func(dir string) {
		require.NoError(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				data, _ := os.ReadFile(p)
				files[strings.TrimPrefix(p, dir)] = string(data)
			}
			return err
		}))
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	c := engine.exported()
	const at = buildRoot + "/home/files"
	require.Equal(t, at, c.all("withMountedDirectory")[0].args["path"], "a mount is in no layer")
	env := map[any]any{}
	for _, e := range c.all("withEnvVariable") {
		env[e.args["name"]] = e.args["value"]
	}
	require.Equal(t, at+"/NODE_EXTRA_CA_CERTS/extra.pem", env["NODE_EXTRA_CA_CERTS"])
	require.Equal(t, at+"/SSL_CERT_DIR/0:"+at+"/SSL_CERT_DIR/1", env["SSL_CERT_DIR"])
	require.Equal(t, at+"/npm_config_cafile/npm.pem", env["npm_config_cafile"])
	require.Equal(t, map[string]string{
		"/NODE_EXTRA_CA_CERTS/extra.pem": "extra", "/npm_config_cafile/npm.pem": "npm",
		"/SSL_CERT_DIR/0/one.pem": "one", "/SSL_CERT_DIR/1/one.pem": "other one", "/SSL_CERT_DIR/1/linked.0": "extra",
	}, files)
	key := c.all("withMountedSecret")[0]
	require.Equal(t, env["NPM_CONFIG_KEYFILE"], key.args["path"])
	require.Equal(t, "s3cret", engine.object(key.args["source"])[0].args["plaintext"])
}

func TestAFileThatTheEnvironmentNamesAndCannotBeReadIsRefused(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, _ := daggerOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.ErrorContains(t, err, "SSL_CERT_FILE")
	require.ErrorContains(t, err, "/nowhere/ca.pem")
}

func TestAnAddressOfThisMachineIsNotThatOfTheEngine(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Setenv("HTTPS_PROXY", "http://me:s3cret@127.0.0.1:3128")
	t.Setenv("NPM_CONFIG_REGISTRY", "http://localhost:4873/")
	t.Setenv("HTTP_PROXY", "http://proxy.test:3128")
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, _ := daggerOptions(t)
	var notes []string
	opts.Progress = func(e release.Event) {
		if strings.Contains(e.Message, "this machine") {
			notes = append(notes, e.Message)
		}
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, []string{
		"HTTPS_PROXY names 127.0.0.1, which in the engine is not this machine: commands will not reach it",
		"NPM_CONFIG_REGISTRY names localhost, which in the engine is not this machine: commands will not reach it",
	}, notes)
}

func TestASilentEngineIsNamed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"sleep", "0.4"}}
	opts, _ := daggerOptions(t)
	opts.silence = 150 * time.Millisecond
	var said []string
	opts.Progress = func(e release.Event) { said = append(said, e.Message) }
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Contains(t, strings.Join(said, "\n"), "`sleep 0.4` has printed nothing for 150ms")
}

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
	for _, c := range engine.asked {
		if c[len(c)-1].name == "export" {
			platforms = append(platforms, c[0].args["platform"])
		}
	}
	require.Equal(t, []any{"linux/amd64", "linux/arm64"}, platforms)
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
	for _, c := range engine.asked {
		require.NotEqual(t, "export", c[len(c)-1].name)
	}
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
}

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

func TestAnInstallInAnEngineRunsBeforeTheSourceGoesIn(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "find . -name '*.ts' | grep -q . && exit 9; :")
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"pnpm", "install"}, {"sh", "-c", "test -f packages/system-bus/src/serve.ts"}}
	opts, engine := daggerOptions(t)
	b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	var steps []string
	for _, c := range engine.exported() {
		if c.name == "withDirectory" || c.name == "withExec" {
			steps = append(steps, c.name)
		}
	}
	require.Equal(t, []string{"withDirectory", "withExec", "withDirectory", "withExec"}, steps)
	require.Equal(t, buildImage(t, r.Dir, img).Digest, b.Digest)
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
	for _, c := range engine.asked {
		if c[len(c)-1].name != "export" {
			continue
		}
		var keys, paths []any
		for _, m := range c.all("withMountedCache") {
			keys, paths = append(keys, engine.object(m.args["cache"])[0].args["key"]), append(paths, m.args["path"])
		}
		caches, mounts = append(caches, keys), append(mounts, paths[1:])
		roots = append(roots, c.all("withWorkdir")[0].args["path"])
		require.Equal(t, c.all("withWorkdir")[0].args["path"], c.all("directory")[0].args["path"])
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
