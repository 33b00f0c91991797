package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

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
