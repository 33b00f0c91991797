package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/internal/sample"
)

// said is what one command line ended with.
type said struct {
	code     int
	out, err string
}

func shipit(t *testing.T, args ...string) said {
	t.Helper()
	var out, err strings.Builder
	code := execute(t.Context(), args, terminal{out: &out, err: &err})
	return said{code, out.String(), err.String()}
}

func TestUsage(t *testing.T) {
	repo := sample.New(t, sample.Options{})

	t.Run("a rollback to what names no release is a usage error, before anything is reached", func(t *testing.T) {
		got := shipit(t, "rollback", "-C", repo.Dir, "--kubeconfig", "/nonexistent", "--to", "!!")
		require.Equal(t, exitUsage, got.code, got.err)
		require.Contains(t, got.err, `shipit: "!!" is no sequence number, SHA, version or constraint`)
	})

	t.Run("a DIR that is not there is a usage error of every command", func(t *testing.T) {
		for _, command := range []string{"check", "build", "status", "init"} {
			got := shipit(t, command, "-C", "/nonexistent")
			require.Equal(t, exitUsage, got.code, got.err)
			require.Contains(t, got.err, "shipit: -C /nonexistent: no such file or directory")
			got = shipit(t, command, "-C", filepath.Join(repo.Dir, "shipit.yaml"))
			require.Equal(t, exitUsage, got.code, got.err)
			require.Contains(t, got.err, "shipit.yaml: not a directory")
		}
	})
}

func TestAShallowCloneIsSaidWhereTheVersionNeedsItsHistory(t *testing.T) {
	repo := sample.New(t, sample.Options{})
	repo.Tag("v1.4.2")
	repo.Commit("two", nil)
	clone := filepath.Join(t.TempDir(), "clone")
	repo.Git("clone", "-q", "--depth=1", "file://"+repo.Dir, clone)
	got := shipit(t, "check", "-C", clone)
	require.Contains(t, got.err, "the clone is shallow")
	require.Contains(t, got.err, "git fetch --unshallow --tags")
	got = shipit(t, "check", "-C", repo.Dir)
	require.NotContains(t, got.err, "shallow")
}

func TestARepositoryOfAnotherUserIsSaidToBeOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a repository to another user")
	}
	repo := sample.New(t, sample.Options{})
	t.Setenv("HOME", t.TempDir()) // no safe.directory
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	require.NoError(t, filepath.WalkDir(repo.Dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 54321, 54321)
	}))
	got := shipit(t, "check", "-C", repo.Dir)
	require.Equal(t, exitUsage, got.code, got.err)
	require.Contains(t, got.err, "another user")
	require.Contains(t, got.err, "git config --global --add safe.directory "+repo.Dir)
	require.NotContains(t, got.err, "--help")
	require.NotContains(t, got.err, "is not a git repository")

	got = shipit(t, "check", "-C", t.TempDir())
	require.Contains(t, got.err, "-C")
	require.NotContains(t, got.err, "--help")
}

func TestAllowTakesCodesThatCanBeAllowed(t *testing.T) {
	repo := sample.New(t, sample.Options{})
	for _, tc := range []struct{ name, code, says string }{
		{"a code that there is not", "Rubbish", `there is no code "Rubbish"`},
		{"a code that is misspelled", "fieldconflicts", `there is no code "fieldconflicts"; did you mean FieldConflict?`},
		{"a code of which one is right", "FieldConflict,QuotaExeeded", "did you mean QuotaExceeded?"},
		{"a finding that nobody can answer for", "Untrusted", "Untrusted can't be allowed"},
		{"a warning", "RoleDropped", "RoleDropped can't be allowed"},
		{"a failure", "CrashLoop", "CrashLoop can't be allowed"},
	} {
		t.Run(tc.name+" is a usage error", func(t *testing.T) {
			for _, command := range []string{"release", "rollback", "plan", "check"} {
				got := shipit(t, command, "-C", repo.Dir, "--kubeconfig", "/nonexistent", "--allow", tc.code)
				require.Equal(t, exitUsage, got.code, got.err)
				require.Contains(t, got.err, tc.says)
			}
		})
	}
	t.Run("what can be allowed is, one by one or joined by commas", func(t *testing.T) {
		got := shipit(t, "check", "-C", repo.Dir, "--allow", "FieldConflict,QuotaExceeded", "--allow", "DuplicateFunction")
		require.Equal(t, exitOK, got.code, got.err)
	})
}

func TestCheckReproducible(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	repo := sample.New(t, sample.Options{})
	got := shipit(t, "build", "--check-reproducible", "-C", repo.Dir, "-o", "json")
	require.Equal(t, exitOK, got.code, got.err)
	var doc buildResult
	require.NoError(t, json.Unmarshal([]byte(got.out), &doc), got.out)
	require.Equal(t, repo.Git("rev-parse", "HEAD"), doc.SHA)
	require.Len(t, doc.Images, 1)
	require.Equal(t, "worker", doc.Images[0].Name)
	require.Regexp(t, "^sha256:", doc.Images[0].Digest)

	got = shipit(t, "build", "--check-reproducible", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	require.Empty(t, got.out, "what was not pushed is no reference to renderRelease with")
}

func TestRelativePaths(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("COSIGN_PASSWORD", "secret")
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	repo := sample.New(t, sample.Options{Registry: strings.TrimPrefix(server.URL, "http://")})
	signed := repo.Read("shipit.yaml") + "signing: {mode: key, key: cosign.key}\n"
	repo.Commit("sign", map[string]string{"shipit.yaml": signed, "deploy/other.yaml": strings.Replace(signed, "app: system-bus", "app: other", 1)})

	t.Run("the key lies in the repository, wherever shipit is called", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(repo.Dir, "cosign.key"), pair.PrivateBytes, 0o600))
		got := shipit(t, "build", "-C", filepath.Join(repo.Dir, "packages"))
		require.Equal(t, exitOK, got.code, got.err)
		require.Contains(t, got.err, "signed worker")
	})
	t.Run("the file of --config lies in DIR, and the key beside it", func(t *testing.T) {
		require.NoError(t, os.Rename(filepath.Join(repo.Dir, "cosign.key"), filepath.Join(repo.Dir, "deploy", "cosign.key")))
		got := shipit(t, "build", "-C", repo.Dir, "--config", "deploy/other.yaml", "-o", "json")
		require.Equal(t, exitOK, got.code, got.err)
		require.Contains(t, got.out, `"app": "other"`)
		require.Contains(t, got.err, "signed worker")
	})
	t.Run("the same where no commit is read", func(t *testing.T) {
		got := shipit(t, "status", "-C", repo.Dir, "--config", "deploy/none.yaml")
		require.Equal(t, exitUsage, got.code, got.err)
		require.Contains(t, got.err, filepath.Join(repo.Dir, "deploy", "none.yaml")+": no such file")
		got = shipit(t, "status", "-C", "testdata", "--config", filepath.Join(repo.Dir, "none.yaml"))
		require.Contains(t, got.err, "shipit: "+filepath.Join(repo.Dir, "none.yaml")+": no such file")
	})
}

func TestASigningThatFailedHalfWayIsDoneAgain(t *testing.T) {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	full, attached := true, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		if r.Method == http.MethodPut && strings.Contains(string(body), attest.ProvenanceType) {
			if full {
				http.Error(w, "the quota is used up", http.StatusForbidden)
				return
			}
			attached = true
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("COSIGN_PASSWORD", "secret")
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	repo := sample.New(t, sample.Options{Registry: strings.TrimPrefix(server.URL, "http://")})
	require.NoError(t, os.WriteFile(filepath.Join(repo.Dir, "cosign.key"), pair.PrivateBytes, 0o600))
	repo.Commit("sign", map[string]string{"shipit.yaml": repo.Read("shipit.yaml") + "signing: {mode: key, key: cosign.key}\n"})

	got := shipit(t, "build", "-C", repo.Dir)
	require.NotEqual(t, exitOK, got.code, got.err)
	full = false
	got = shipit(t, "build", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	require.True(t, attached, "the image was known and its provenance was not")
	attached = false
	got = shipit(t, "build", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	require.False(t, attached, "what is there is not attached again")
}

func TestTheTimeoutIsTheDeploymentsToo(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	repo := sample.New(t, sample.Options{Registry: strings.TrimPrefix(server.URL, "http://")})
	repo.Commit("timeout", map[string]string{
		"shipit.yaml": regexp.MustCompile(`timeout: .*`).ReplaceAllString(repo.Read("shipit.yaml"), "timeout: 15m"),
	})
	got := shipit(t, "build", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	got = shipit(t, "render", "-C", repo.Dir)
	require.Equal(t, exitOK, got.code, got.err)
	require.Contains(t, got.out, "progressDeadlineSeconds: 900\n")
}

func TestInterrupted(t *testing.T) {
	repo := sample.New(t, sample.Options{Registry: "127.0.0.1:1"})
	for _, command := range []string{"build", "check"} {
		t.Run(command+" says that nothing was rolled out", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := &awaited{text: "source ", seen: cancel}
			code := execute(ctx, []string{command, "-C", repo.Dir}, terminal{out: io.Discard, err: w})
			require.Equal(t, exitInterrupted, code, w.all.String())
			require.Contains(t, w.all.String(), "shipit: interrupted; nothing was rolled out: ")
			require.NotContains(t, w.all.String(), "shipit status")
		})
	}
}

func TestOneJobRunsTheCommandsOfTheRepositoryAndAnotherPushes(t *testing.T) {
	var pushed []string
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			pushed = append(pushed, r.URL.Path)
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	repo := sample.New(t, sample.Options{Registry: strings.TrimPrefix(server.URL, "http://")})
	ran := filepath.Join(t.TempDir(), "ran")
	text := repo.Read("shipit.yaml")
	repo.Commit("commands", map[string]string{"shipit.yaml": strings.Replace(text, "    base: ", "    run: [[sh, -c, \"echo x >> "+ran+"\"]]\n    prove: {skip: true}\n    base: ", 1)})
	cache := t.TempDir()

	got := shipit(t, "build", "-C", repo.Dir, "--no-run", "--cache", cache)
	require.Equal(t, exitRefused, got.code, got.err)
	require.Contains(t, got.err, "is not built: its build runs commands")
	require.Contains(t, got.err, "shipit build --no-push")
	require.NoFileExists(t, ran)

	got = shipit(t, "build", "-C", repo.Dir, "--no-push", "--cache", cache)
	require.Equal(t, exitOK, got.code, got.err)
	require.Empty(t, got.out, "what was not pushed is no reference to renderRelease with")
	require.FileExists(t, ran)
	require.Empty(t, pushed)

	require.NoError(t, os.Remove(ran))
	got = shipit(t, "build", "-C", repo.Dir, "--no-run", "--cache", cache)
	require.Equal(t, exitOK, got.code, got.err)
	require.Contains(t, got.out, "@sha256:")
	require.NotEmpty(t, pushed)
	require.NoFileExists(t, ran)
}
