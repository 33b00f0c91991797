package doctor_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/doctor"
	"github.com/joelhooks/shipit/internal/sample"
	images "github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// ask runs all checks, and returns their results by name.
func ask(t *testing.T, in doctor.Input) (doctor.Report, map[string]doctor.Result) {
	t.Helper()
	if in.Registry == nil {
		in.Registry = images.New(images.Options{})
	}
	if in.Release == nil {
		in.Release = func(context.Context) (release.Release, error) {
			return release.Release{}, errors.New("nothing to render")
		}
	}
	in.Kube = kube.Options{Kubeconfig: filepath.Join(t.TempDir(), "none")}
	report := doctor.Run(t.Context(), doctor.Checks(in))
	byName := map[string]doctor.Result{}
	for _, r := range report.Checks {
		byName[r.Name] = r
		require.True(t, r.Status != doctor.Failed || r.Remedy != "", "%s failed, and nothing mends it: %s", r.Name, r.Message)
		require.NotContains(t, r.Message, "\n")
	}
	return report, byName
}

// serve is a registry in this process behind a gate.
func serve(t *testing.T, gate func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate == nil || gate(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func configured(t *testing.T, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "shipit.yaml"), []byte(text), "")
	require.NoError(t, err)
	return cfg
}

func pushed(registry string) string {
	return "app: a\nbuilder: embedded\nimages: {worker: {repository: " + registry + "/a/worker, package: p, base: scratch}}\n" +
		"roles: {host: {image: worker, host: {manager: systemd, service: a, address: '127.0.0.1:1'}}}\n"
}

func TestWithoutAConfiguration(t *testing.T) {
	_, missing := config.Load(filepath.Join(t.TempDir(), "shipit.yaml"), "")
	report, got := ask(t, doctor.Input{Dir: sample.New(t, sample.Options{}).Dir, Fault: missing})
	require.True(t, report.OK, report.Checks)
	require.Equal(t, doctor.OK, got["git"].Status)
	require.Equal(t, doctor.Note, got["shipit.yaml"].Status)
	require.Equal(t, "shipit init", got["shipit.yaml"].Remedy)
	require.Equal(t, doctor.Skipped, got["registry"].Status)
	require.Equal(t, doctor.Note, got["cluster"].Status)
	require.Contains(t, got["cluster"].Remedy, "--kubeconfig")
}

func TestAFaultyConfiguration(t *testing.T) {
	_, fault := config.Parse("shipit.yaml", []byte("app: a\nbilder: x\n"), "")
	report, got := ask(t, doctor.Input{Dir: t.TempDir(), Fault: fault})
	require.False(t, report.OK)
	require.Equal(t, doctor.Failed, got["shipit.yaml"].Status)
	require.Contains(t, got["shipit.yaml"].Remedy, `did you mean "builder"?`)
	require.Equal(t, doctor.Failed, got["git"].Status)
}

func TestTheRegistry(t *testing.T) {
	t.Run("that takes a push", func(t *testing.T) {
		_, got := ask(t, doctor.Input{Config: configured(t, pushed(serve(t, nil)))})
		require.Equal(t, doctor.OK, got["registry worker"].Status, got["registry worker"].Message)
		require.Equal(t, doctor.OK, got["clock"].Status, got["clock"].Message)
	})
	t.Run("that takes none from this user", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"write_package is missing"}]}`, http.StatusForbidden)
				return false
			}
			return true
		})
		report, got := ask(t, doctor.Input{Config: configured(t, pushed(address))})
		require.False(t, report.OK)
		require.Equal(t, doctor.Failed, got["registry worker"].Status)
		require.Contains(t, got["registry worker"].Message, "push "+address+"/a/worker")
		require.Contains(t, got["registry worker"].Remedy, "docker login "+address)
	})
	t.Run("whose base is a placeholder, or is not there", func(t *testing.T) {
		address := serve(t, nil)
		text := strings.Replace(pushed(address), "base: scratch", "base: docker.io/oven/bun@"+config.PlaceholderDigest+", toolchain: "+address+"/node@sha256:"+strings.Repeat("a", 64), 1)
		report := doctor.Run(t.Context(), doctor.Checks(doctor.Input{Config: configured(t, text), Registry: images.New(images.Options{}),
			Release: func(context.Context) (release.Release, error) { return release.Release{}, errors.New("none") }}))
		var remedies []string
		for _, r := range report.Checks {
			if r.Name == "base worker" {
				require.Equal(t, doctor.Failed, r.Status)
				remedies = append(remedies, r.Message+" "+r.Remedy)
			}
		}
		require.Len(t, remedies, 2)
		require.Contains(t, remedies[0], "crane digest docker.io/oven/bun")
		require.Contains(t, remedies[1], "is not in the registry")
	})
	t.Run("whose clock goes wrong", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return true
		})
		_, got := ask(t, doctor.Input{Config: configured(t, pushed(address))})
		require.Equal(t, doctor.Failed, got["clock"].Status)
		require.Regexp(t, "1h0m[0-2]s apart", got["clock"].Message, "a Date has whole seconds")
		require.NotEmpty(t, got["clock"].Remedy)
	})
}

func TestAHostThatIsNotThere(t *testing.T) {
	report, got := ask(t, doctor.Input{Config: configured(t, pushed(serve(t, nil)))})
	require.False(t, report.OK)
	require.Equal(t, doctor.Failed, got["host host"].Status)
	require.Contains(t, got["host host"].Message, "127.0.0.1:1")
}

func TestTheSigningIdentity(t *testing.T) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cosign.key"), pair.PrivateBytes, 0o600))
	for _, tc := range []struct {
		name, mode, password string
		status               doctor.Status
		says                 string
	}{
		{"a key that is decrypted", "{mode: key, key: cosign.key}", "secret", doctor.OK, "signed by the key cosign.key"},
		{"a key whose password is wrong", "{mode: key, key: cosign.key}", "wrong", doctor.Failed, "COSIGN_PASSWORD is wrong"},
		{"a key that is not there", "{mode: key, key: other.key}", "secret", doctor.Failed, "no such file"},
		{"an identity outside of a CI job", "{mode: keyless}", "", doctor.Failed, "id-token: write"},
		{"nobody", "{mode: none}", "", doctor.Skipped, "nothing is signed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := configured(t, pushed(serve(t, nil))+"signing: "+tc.mode+"\n")
			getenv := func(name string) string { return map[string]string{"COSIGN_PASSWORD": tc.password}[name] }
			in := doctor.Input{Config: cfg, Attestor: attest.New(cfg.Signing, attest.Options{Dir: dir, Getenv: getenv})}
			_, got := ask(t, in)
			require.Equal(t, tc.status, got["signing"].Status, got["signing"].Message)
			require.Contains(t, got["signing"].Message, tc.says)
		})
	}
}

func TestACheckThatHangsEndsWithItsLimit(t *testing.T) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	report := doctor.Run(ctx, []doctor.Check{
		{Name: "hangs", Ask: func(ctx context.Context) []doctor.Result {
			<-ctx.Done()
			return []doctor.Result{{Status: doctor.Failed, Message: "hung"}}
		}},
		{Name: "answers", Ask: func(context.Context) []doctor.Result { return []doctor.Result{{Status: doctor.OK, Message: "fine"}} }},
	})
	require.Less(t, time.Since(began), time.Minute)
	require.False(t, report.OK)
	require.Equal(t, []string{"hangs", "answers"}, []string{report.Checks[0].Name, report.Checks[1].Name})
}
