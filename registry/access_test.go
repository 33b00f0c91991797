package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// locked asks for a user and a password, and echoes wrong ones as a careless
// registry would.
func locked(user, password string) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		u, p, _ := r.BasicAuth()
		if u == user && p == password {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"no: %s %s"}]}`, p, r.Header.Get("Authorization"))
	}
}

func secret(t *testing.T, host, user, password string) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
	}}})
	require.NoError(t, err)
	return raw
}

func TestCredentials(t *testing.T) {
	ctx := context.Background()
	s := serve(t, locked("joel", "right"))
	first := image(t, 256)
	owner, _ := client(Options{Keychain: login{"joel", "right"}})
	published, err := owner.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
	require.NoError(t, err)
	ref := s.host + "/app@" + published.Digest

	t.Run("a wrong password is an AuthError that does not tell it", func(t *testing.T) {
		c, w := client(Options{Keychain: login{"joel", "hunter2"}})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha2})
		var refused *AuthError
		require.ErrorAs(t, err, &refused)
		require.False(t, refused.Anonymous)
		require.Equal(t, "push", refused.Action)
		require.Contains(t, refused.Hint(), "docker login "+s.host)
		require.Empty(t, w.slept)
		for _, spelling := range []string{"hunter2", base64.StdEncoding.EncodeToString([]byte("joel:hunter2"))} {
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, refused), spelling)
		}
		_, err = resolve(c, ctx, ref)
		require.NotContains(t, err.Error(), "hunter2")
		require.Contains(t, err.Error(), "***")
	})
	t.Run("a pull secret is tried as it is, never with a token of ours", func(t *testing.T) {
		right, err := KeychainFromDockerConfig(secret(t, s.host, "joel", "right"))
		require.NoError(t, err)
		require.NoError(t, owner.CanPull(ctx, ref, right))
		wrong, err := KeychainFromDockerConfig(secret(t, s.host, "joel", "wrong"))
		require.NoError(t, err)
		other, err := KeychainFromDockerConfig(secret(t, "ghcr.io", "joel", "right"))
		require.NoError(t, err)
		var refused *AuthError
		require.ErrorAs(t, owner.CanPull(ctx, ref, wrong), &refused)
		require.False(t, refused.Anonymous)
		require.ErrorAs(t, owner.CanPull(ctx, ref, other), &refused)
		require.True(t, refused.Anonymous)
		require.ErrorAs(t, owner.CanPull(ctx, ref, nil), &refused)
		require.True(t, refused.Anonymous)
		absent := s.host + "/app@sha256:" + strings.Repeat("0", 64)
		var none *NotFoundError
		require.ErrorAs(t, owner.CanPull(ctx, absent, right), &none)
	})
}

func TestPullSecrets(t *testing.T) {
	resolve := func(t *testing.T, config, repository string) string {
		keychain, err := KeychainFromDockerConfig([]byte(config))
		require.NoError(t, err)
		repo, err := name.NewRepository(repository)
		require.NoError(t, err)
		auth, err := keychain.Resolve(repo)
		require.NoError(t, err)
		c, err := auth.Authorization()
		require.NoError(t, err)
		return c.Username
	}
	entry := func(key, user string) string { return fmt.Sprintf(`%q:{"username":%q,"password":"p"}`, key, user) }
	auths := func(entries ...string) string { return `{"auths":{` + strings.Join(entries, ",") + `}}` }
	for about, c := range map[string]struct{ config, repository, user string }{
		"by host":                              {auths(entry("ghcr.io", "a")), "ghcr.io/o/app", "a"},
		"by URL":                               {auths(entry("https://ghcr.io/v2/", "a")), "ghcr.io/o/app", "a"},
		"Docker Hub by its old name":           {auths(entry("https://index.docker.io/v1/", "a")), "docker.io/o/app", "a"},
		"Docker Hub by its short name":         {auths(entry("docker.io", "a")), "o/app", "a"},
		"the longer path wins":                 {auths(entry("ghcr.io", "a"), entry("ghcr.io/o", "b")), "ghcr.io/o/app", "b"},
		"a path covers whole segments only":    {auths(entry("ghcr.io", "a"), entry("ghcr.io/o", "b")), "ghcr.io/other/app", "a"},
		"a star is one label":                  {auths(entry("*.example.com", "a")), "eu.example.com/app", "a"},
		"a star is not two labels":             {auths(entry("*.example.com", "a")), "x.eu.example.com/app", ""},
		"a name before a star":                 {auths(entry("*.example.com", "a"), entry("eu.example.com", "b")), "eu.example.com/app", "b"},
		"a port must be the same":              {auths(entry("example.com:5000", "a")), "example.com:5001/app", ""},
		"another host has none":                {auths(entry("ghcr.io", "a")), "quay.io/o/app", ""},
		"the older form, without auths":        {`{` + entry("ghcr.io", "a") + `}`, "ghcr.io/o/app", "a"},
		"user and password in base64":          {`{"auths":{"ghcr.io":{"auth":"YTpw"}}}`, "ghcr.io/o/app", "a"},
		"an empty config is an anonymous pull": {`{"auths":{}}`, "ghcr.io/o/app", ""},
	} {
		t.Run(about, func(t *testing.T) { require.Equal(t, c.user, resolve(t, c.config, c.repository)) })
	}
	for about, config := range map[string]string{
		"no JSON": `auths: {}`, "no base64": `{"auths":{"ghcr.io":{"auth":"%%hunter2"}}}`, "no colon": `{"auths":{"ghcr.io":{"auth":"aHVudGVyMg=="}}}`,
	} {
		t.Run(about+" is an error without the secret", func(t *testing.T) {
			_, err := KeychainFromDockerConfig([]byte(config))
			require.ErrorContains(t, err, "pull secret")
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "aHVudGVyMg")
		})
	}
}

func TestDefaultKeychain(t *testing.T) {
	home := t.TempDir()
	for _, variable := range []string{"GITHUB_TOKEN", "GITHUB_ACTOR", "GH_CONFIG_DIR", "XDG_CONFIG_HOME", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"} {
		t.Setenv(variable, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, "docker"))
	resolve := func(repository string) authn.AuthConfig {
		repo, err := name.NewRepository(repository)
		require.NoError(t, err)
		auth, err := defaultKeychain().Resolve(repo)
		require.NoError(t, err)
		c, err := auth.Authorization()
		require.NoError(t, err)
		return *c
	}
	write := func(content string, path ...string) {
		file := filepath.Join(append([]string{home}, path...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	// Each source outranks the ones that were set up before it.
	require.Equal(t, authn.AuthConfig{}, resolve("ghcr.io/o/app"))
	write("github.com:\n    user: cat\n    oauth_token: from-gh\n", ".config", "gh", "hosts.yml")
	require.Equal(t, authn.AuthConfig{Username: "cat", Password: "from-gh"}, resolve("ghcr.io/o/app"))
	t.Setenv("GITHUB_TOKEN", "from-env")
	require.Equal(t, authn.AuthConfig{Username: "token", Password: "from-env"}, resolve("ghcr.io/o/app"))
	t.Setenv("GITHUB_ACTOR", "octo")
	require.Equal(t, authn.AuthConfig{Username: "octo", Password: "from-env"}, resolve("ghcr.io/o/app"))
	require.Equal(t, authn.AuthConfig{}, resolve("quay.io/o/app"), "a GitHub token goes to GitHub only")
	write(string(secret(t, "ghcr.io", "joel", "from-docker")), "docker", "config.json")
	got := resolve("ghcr.io/o/app")
	require.Equal(t, []string{"joel", "from-docker"}, []string{got.Username, got.Password})
}

func TestGHCR(t *testing.T) {
	ctx := context.Background()
	denied := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"permission_denied: write_package"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	}
	t.Run("a token without the scope is told which one, for where it runs", func(t *testing.T) {
		for actions, hint := range map[string]string{"true": "packages: write", "": "write:packages"} {
			t.Setenv("GITHUB_ACTIONS", actions)
			c, _ := client(Options{Transport: detour(serve(t, denied)), Keychain: login{"octo", "ghs_secret"}})
			_, err := c.Publish(ctx, Publication{Repository: "ghcr.io/joelhooks/app", Artifact: image(t, 64), SHA: sha1})
			var refused *AuthError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "ghcr.io does not allow the credentials in use to push ghcr.io/joelhooks/app: DENIED: permission_denied: write_package", err.Error())
			require.Contains(t, refused.Hint(), hint)
		}
	})
	t.Run("a token that is refused by the token server is an AuthError too", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.URL.Path == "/token" {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"denied"}]}`)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://ghcr.io/token",service="ghcr.io"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
		c, _ := client(Options{Transport: detour(s)})
		_, err := resolve(c, ctx, "ghcr.io/joelhooks/app:x")
		var refused *AuthError
		require.ErrorAs(t, err, &refused)
		require.True(t, refused.Anonymous)
		require.Contains(t, refused.Hint(), "read:packages")
	})
	t.Run("it is never asked for referrers, and loses none", func(t *testing.T) {
		asked := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				http.Redirect(w, r, "https://ghcr.io/-/v2/packages", http.StatusSeeOther)
				return
			}
			next.ServeHTTP(w, r)
		}
		s := serve(t, asked)
		c, _ := client(Options{Transport: detour(s)})
		require.Equal(t, 1, attach(t, c, "ghcr.io/joelhooks/app"))
		require.NotContains(t, strings.Join(s.requests("GET"), "\n"), "/referrers/")
	})
	t.Run("elsewhere an answer that is no index does not count", func(t *testing.T) {
		for _, status := range []int{200, 404, 429} {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "<html>")
			}))
			defer web.Close()
			answers := []http.Handler{http.RedirectHandler(web.URL, http.StatusSeeOther)}
			if status != 429 { // which the registry itself would mean
				answers = append(answers, web.Config.Handler)
			}
			for _, answer := range answers {
				s := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if strings.Contains(r.URL.Path, "/referrers/") {
						answer.ServeHTTP(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
				c, _ := client(Options{})
				require.Equal(t, 1, attach(t, c, s.host+"/app"), "status %d", status)
			}
		}
	})
}

// attach pushes an image and a manifest that refers to it, with the options
// that libraries are given, and counts the referrers that are found again.
func attach(t *testing.T, c *Client, repository string) int {
	t.Helper()
	ctx := context.Background()
	got, err := c.Publish(ctx, Publication{Repository: repository, Artifact: image(t, 64), SHA: sha1})
	require.NoError(t, err)
	subject, err := headOf(c, ctx, repository+"@"+got.Digest)
	require.NoError(t, err)
	note, err := c.Publish(ctx, Publication{Repository: repository, Artifact: image(t, 32), SHA: sha2})
	require.NoError(t, err)
	config, err := imageOf(c, ctx, repository+"@"+note.Digest)
	require.NoError(t, err)
	manifest, err := config.Manifest()
	require.NoError(t, err)
	manifest = manifest.DeepCopy()
	manifest.MediaType, manifest.Subject = types.OCIManifestSchema1, &subject
	raw, err := json.Marshal(manifest)
	require.NoError(t, err)
	digest, _, err := v1.SHA256(strings.NewReader(string(raw)))
	require.NoError(t, err)
	repo, err := name.NewRepository(repository)
	require.NoError(t, err)
	require.NoError(t, remote.Put(repo.Digest(digest.String()), plain(raw), c.RemoteOptions(ctx)...))
	found, err := remote.Referrers(repo.Digest(got.Digest), c.RemoteOptions(ctx)...)
	require.NoError(t, err)
	index, err := found.IndexManifest()
	require.NoError(t, err)
	return len(index.Manifests)
}

type plain []byte

func (p plain) RawManifest() ([]byte, error)      { return p, nil }
func (plain) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
