package pipeline

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/release"
)

// given is a variable of the caller's environment that names files for commands in an
// engine: certificates and keys.
type given struct {
	variable string
	value    string // paths below the mount, joined by ":"
	secret   string // the file's content, if it is a key; its path is value
}

// givenFiles copies the files that the environment names to below the folder dir, each
// variable's into a folder of its name. A file that can't be read is an error: an
// install without it would wait for a server that it does not trust.
func givenFiles(environ []string, dir string) ([]given, error) {
	var out []given
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !namesFiles(name) || value == "" {
			continue
		}
		g, err := copyGiven(name, value, dir)
		if err != nil {
			return nil, fmt.Errorf("%s is %s: %w; name a file that is there, or unset it", name, value, err)
		}
		out = append(out, g)
	}
	return out, nil
}

// namesFiles reports whether a variable that is passed to commands holds paths.
func namesFiles(name string) bool {
	upper := strings.ToUpper(name)
	switch upper {
	case "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO":
		return true
	}
	config := strings.HasPrefix(upper, "NPM_CONFIG_") || strings.HasPrefix(upper, "PNPM_CONFIG_")
	return config && (strings.HasSuffix(upper, "_CAFILE") || strings.HasSuffix(upper, "_CERTFILE") || isKey(upper))
}

func isKey(upper string) bool { return strings.HasSuffix(upper, "_KEYFILE") }

func copyGiven(name, value, dir string) (given, error) {
	g := given{variable: name}
	if isKey(strings.ToUpper(name)) {
		data, err := os.ReadFile(value)
		g.value, g.secret = path.Join(name, filepath.Base(value)), string(data)
		return g, err
	}
	if strings.ToUpper(name) != "SSL_CERT_DIR" {
		g.value = path.Join(name, filepath.Base(value))
		return g, copyReadable(value, filepath.Join(dir, name, filepath.Base(value)))
	}
	var folders []string
	for i, from := range filepath.SplitList(value) {
		at := path.Join(name, strconv.Itoa(i))
		folders = append(folders, at)
		if err := copyFolder(from, filepath.Join(dir, at)); err != nil {
			return g, err
		}
	}
	g.value = strings.Join(folders, ":")
	return g, nil
}

// copyFolder copies the files of a folder, and those that its links lead to: a folder
// of certificates is mostly links to elsewhere. Links to nowhere are left out.
func copyFolder(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := mkdir(to); err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(from, e.Name())
		if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := copyReadable(at, filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyReadable copies a file so that every user can read it.
func copyReadable(from, to string) error {
	if err := mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	return copyFile(from, to, 0o644)
}

// withFiles mounts the given files, so that they are in no layer, and says where they
// are.
func (r daggerRun) withFiles(c *dagger.Container) *dagger.Container {
	at := r.home() + "/files"
	mounted := false
	for _, g := range r.files {
		if g.secret != "" {
			continue
		}
		if !mounted {
			c, mounted = c.WithMountedDirectory(at, r.client.Host().Directory(r.filesDir)), true
		}
		var paths []string
		for _, p := range strings.Split(g.value, ":") {
			paths = append(paths, at+"/"+p)
		}
		c = c.WithEnvVariable(g.variable, strings.Join(paths, ":"))
	}
	for _, g := range r.files {
		if g.secret != "" {
			key := r.home() + "/keys/" + g.value
			c = c.WithMountedSecret(key, r.client.SetSecret(g.variable, g.secret)).WithEnvVariable(g.variable, key)
		}
	}
	return c
}

// noteLoopback names addresses of this machine that are passed to commands.
func (r daggerRun) noteLoopback(environ []string) {
	if len(r.in.Image.Run)+len(r.in.Image.Test) == 0 {
		return
	}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !passed(name) || strings.EqualFold(name, "NO_PROXY") {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			r.opts.report(release.MarkNote, "%s names %s, which in the engine is not this machine: commands will not reach it", name, u.Hostname())
		}
	}
}
