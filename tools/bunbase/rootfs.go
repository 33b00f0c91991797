package bunbase

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// loader is where programs for glibc on amd64 look for their dynamic linker.
const loader = "/lib64/ld-linux-x86-64.so.2"

// findLibraries gives the shared libraries that bun needs, each with the path
// at which it belongs, by this machine's own layout: the linker looks for them
// where its distribution has them.
func findLibraries() (tree, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("its C library is taken from this machine, which must be linux/amd64, not %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if _, err := os.Stat(loader); err != nil {
		return nil, fmt.Errorf("its C library is taken from this machine, which has no glibc: %w", err)
	}
	found := tree{{name: loader[1:], mode: 0o755, from: loader}}
	// The last three are loaded by name when a program looks up a host.
	for _, name := range []string{
		"libc.so.6", "libpthread.so.0", "libdl.so.2", "libm.so.6", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2",
	} {
		f, err := findLibrary(name)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

func findLibrary(name string) (file, error) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return file{name: path[1:], mode: 0o755, from: path}, nil
		}
	}
	return file{}, fmt.Errorf("this machine has no %s", name)
}

// rootFS is what a program finds around it: the libraries, the users, names and
// certificates to reach others by, and places to write.
func rootFS(libraries tree) tree {
	t := append(tree{}, libraries...)
	t = append(t,
		file{name: "tmp/", mode: 0o1777},
		file{name: "home/bun/", mode: 0o755, owner: uid},
		file{name: "etc/passwd", mode: 0o644, text: "root:x:0:0:root:/root:/sbin/nologin\nbun:x:1000:1000:bun:/home/bun:/sbin/nologin\n"},
		file{name: "etc/group", mode: 0o644, text: "root:x:0:\nbun:x:1000:\n"},
		file{name: "etc/nsswitch.conf", mode: 0o644, text: "passwd: files\ngroup: files\nhosts: files dns\n"},
		file{name: "etc/os-release", mode: 0o644, text: "ID=shipit-bun\nPRETTY_NAME=\"bun " + BunVersion + " on glibc\"\n"},
	)
	for _, bundle := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if _, err := os.Stat(bundle); err == nil {
			return append(t, file{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, from: bundle})
		}
	}
	return t
}
