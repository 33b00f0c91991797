package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.yaml.in/yaml/v3"
)

// CanPull reports whether credentials suffice to pull ref: nil if they do, an
// *AuthError if not. nil credentials are those of an anonymous client. It asks
// the registry for the manifest, as a node would.
func (c *Client) CanPull(ctx context.Context, ref string, credentials authn.Keychain) error {
	r, err := parse(ref)
	if err != nil {
		return err
	}
	if credentials == nil {
		credentials = anonymous{}
	}
	// A separate client, so that a token of other credentials is never reused.
	c = c.withKeychain(credentials)
	s, err := c.session(ctx, r.Context(), pull)
	if err != nil {
		return err
	}
	_, err = remote.Get(r, s.options(ctx)...)
	if err != nil {
		return c.explain(ctx, s, r.Name(), err)
	}
	return nil
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// defaultKeychain reads the configuration of Docker or Podman. For ghcr.io it then
// tries GITHUB_TOKEN, with GITHUB_ACTOR as the user, and the file in which gh stores
// the token of github.com.
func defaultKeychain() authn.Keychain {
	return authn.NewMultiKeychain(authn.DefaultKeychain, githubKeychain{})
}

type githubKeychain struct{}

func (githubKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != ghcr {
		return authn.Anonymous, nil
	}
	if token := os.Getenv("GITHUB_TOKEN"); token != "" {
		return authn.FromConfig(authn.AuthConfig{Username: orToken(os.Getenv("GITHUB_ACTOR")), Password: token}), nil
	}
	user, token := ghLogin()
	if token == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: orToken(user), Password: token}), nil
}

// orToken is the user, or any name if there is none: GHCR checks only the token, but
// requires a user name.
func orToken(user string) string {
	if user == "" {
		return "token"
	}
	return user
}

// ghLogin reads gh's hosts.yml. The results are empty if gh stores tokens in the
// system's keyring or if there is no such file.
func ghLogin() (user, token string) {
	dir := os.Getenv("GH_CONFIG_DIR")
	if dir == "" {
		base := os.Getenv("XDG_CONFIG_HOME")
		if home, err := os.UserHomeDir(); base == "" && err == nil {
			base = filepath.Join(home, ".config")
		}
		dir = filepath.Join(base, "gh")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "hosts.yml"))
	if err != nil {
		return "", ""
	}
	var hosts map[string]struct {
		User  string `yaml:"user"`
		Token string `yaml:"oauth_token"`
	}
	if yaml.Unmarshal(raw, &hosts) != nil {
		return "", ""
	}
	host := hosts["github.com"]
	return host.User, host.Token
}

// dockerEntry is one host's entry in a Docker config.
type dockerEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// KeychainFromDockerConfig reads the content of a Kubernetes pull secret: a
// .dockerconfigjson, or the older .dockercfg, which is only the "auths" of one. It
// finds credentials as a kubelet does: keys may have a path, and * for a part of the
// host name; the longest key wins.
func KeychainFromDockerConfig(config []byte) (authn.Keychain, error) {
	var modern struct {
		Auths map[string]dockerEntry `json:"auths"`
	}
	if err := json.Unmarshal(config, &modern); err != nil {
		return nil, errors.New("pull secret: it is not a Docker config in JSON")
	}
	if modern.Auths == nil {
		if err := json.Unmarshal(config, &modern.Auths); err != nil {
			return nil, errors.New("pull secret: it has no auths")
		}
	}
	var chain pullSecret
	for key, entry := range modern.Auths {
		auth, err := entry.config()
		if err != nil {
			return nil, fmt.Errorf("pull secret: %s: %w", key, err)
		}
		host, prefix := splitKey(key)
		chain = append(chain, pullKey{host, prefix, auth})
	}
	sort.Slice(chain, func(i, j int) bool {
		a, b := chain[i], chain[j]
		if len(a.prefix) != len(b.prefix) {
			return len(a.prefix) > len(b.prefix)
		}
		return a.host > b.host // a name before a pattern: '*' sorts low
	})
	return chain, nil
}

func (e dockerEntry) config() (authn.AuthConfig, error) {
	c := authn.AuthConfig{
		Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
	}
	if e.Auth == "" {
		return c, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(e.Auth)
	user, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return c, errors.New("auth is not base64 of user:password")
	}
	c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	return c, nil
}

type pullKey struct {
	host   string // with a port if it has one; labels may hold *
	prefix string // the path after it, without slashes at its ends
	auth   authn.AuthConfig
}

// pullSecret is a keychain; the most specific key comes first.
type pullSecret []pullKey

// Resolve finds the credentials of a repository; Anonymous if there are none.
func (p pullSecret) Resolve(target authn.Resource) (authn.Authenticator, error) {
	host, repository := target.RegistryStr(), strings.TrimPrefix(target.String(), target.RegistryStr()+"/")
	for _, key := range p {
		if matchHost(key.host, host) && (key.prefix == "" || repository == key.prefix || strings.HasPrefix(repository, key.prefix+"/")) {
			return authn.FromConfig(key.auth), nil
		}
	}
	return authn.Anonymous, nil
}

// splitKey splits a config's key: "https://index.docker.io/v1/",
// "ghcr.io", "ghcr.io/owner", "*.example.com:5000".
func splitKey(key string) (host, prefix string) {
	if u, err := url.Parse(key); err == nil && u.Host != "" {
		key = u.Host + u.Path
	}
	host, prefix, _ = strings.Cut(key, "/")
	prefix = strings.Trim(prefix, "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	for _, version := range []string{"v1/", "v2/"} {
		prefix = strings.TrimPrefix(prefix, version)
	}
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = "index.docker.io"
	}
	return host, prefix
}

// matchHost matches label by label: * does not match a dot.
func matchHost(pattern, host string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
