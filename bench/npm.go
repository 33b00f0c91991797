package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// packages is a registry of packages that exist nowhere else: the same text for every
// build, from this machine, so that no network is in the figures. The first package has
// several versions, which differ in one file.
type packages struct {
	name  string // begins the name of each: a package manager takes one for the other of that name
	count int    // of packages
	files int    // of a package, besides its package.json
	bytes int    // of a file, about
	dir   string // keeps archives that were made; "" keeps none
}

// The trees that are built: one as large as the sample with the packages of a real
// worker, one as large as a real monorepo's node_modules.
func smallTree() packages { return packages{name: "small", count: 235, files: 26, bytes: 9 << 10} }
func largeTree() packages { return packages{name: "large", count: 1000, files: 49, bytes: 14 << 10} }

func (p packages) packageName(n int) string { return fmt.Sprintf("bench-%s-%04d", p.name, n) }

// version of the first package after so many changes; the others have only the first.
func version(changes int) string { return fmt.Sprintf("1.0.%d", changes) }

// changes are how many other versions of the first package there are.
const changes = 9

// dependencies are what a package.json demands: all packages, with the first in the
// given version.
func (p packages) dependencies(first string) map[string]string {
	all := map[string]string{}
	for n := range p.count {
		all[p.packageName(n)] = "1.0.0"
	}
	all[p.packageName(0)] = first
	return all
}

// serve answers for the packages on a port of this machine's own.
func (p packages) serve() (address string, shut func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = "http://" + listener.Addr().String()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: p.handler(address)}
	go func() { _ = server.Serve(listener) }()
	return address, func() { _ = server.Close() }, nil
}

// handler is the part of npm's protocol that an install needs.
func (p packages) handler(address string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		n, ok := p.numberOf(r.PathValue("name"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.document(address, n))
	})
	mux.HandleFunc("GET /{name}/-/{version}", func(w http.ResponseWriter, r *http.Request) {
		n, ok := p.numberOf(r.PathValue("name"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(p.archive(n, strings.TrimSuffix(strings.TrimPrefix(r.PathValue("version"), p.packageName(n)+"-"), ".tgz")))
	})
	return mux
}

func (p packages) numberOf(name string) (int, bool) {
	var n int
	_, err := fmt.Sscanf(name, "bench-"+p.name+"-%d", &n)
	return n, err == nil && n >= 0 && n < p.count && name == p.packageName(n)
}

// document is what the registry says of a package.
func (p packages) document(address string, n int) map[string]any {
	name, list := p.packageName(n), map[string]any{}
	for i := range changes + 1 {
		if n > 0 && i > 0 {
			break
		}
		version := version(i)
		sum := sha512.Sum512(p.archive(n, version))
		list[version] = map[string]any{"name": name, "version": version, "dist": map[string]any{
			"tarball":   fmt.Sprintf("%s/%s/-/%s.tgz", address, name, version),
			"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
		}}
	}
	return map[string]any{"name": name, "dist-tags": map[string]string{"latest": "1.0.0"}, "versions": list}
}

// archive is a package as a registry has it: the same bytes at each call.
func (p packages) archive(n int, version string) []byte {
	at := filepath.Join(p.dir, fmt.Sprintf("%04d-%s.tgz", n, version))
	if data, err := os.ReadFile(at); err == nil && p.dir != "" {
		return data
	}
	data := p.pack(n, version)
	if p.dir != "" && os.WriteFile(at+".part", data, 0o644) == nil {
		_ = os.Rename(at+".part", at) // or it is made again
	}
	return data
}

func (p packages) pack(n int, version string) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is a valid one
	w := tar.NewWriter(z)
	file := func(name string, data []byte) {
		// A bytes.Buffer takes all that is written.
		_ = w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg})
		_, _ = w.Write(data)
	}
	file("package.json", fmt.Appendf(nil, `{"name":%q,"version":%q,"main":"lib/file-000.js"}`, p.packageName(n), version))
	words := wordList()
	for i := range p.files {
		text := script(words, uint64(n)<<16|uint64(i), p.bytes)
		if i == 0 {
			text = append(text, "// "+version+"\n"...)
		}
		file(fmt.Sprintf("lib/file-%03d.js", i), text)
	}
	_, _ = w.Close(), z.Close()
	return out.Bytes()
}

// wordList is what scripts are made of.
func wordList() []string {
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("const let return function export import await async if else for of new this null true false => { } ( ) ; = == + - , .")
	for range 1500 {
		var b strings.Builder
		for range 4 + random.IntN(9) {
			b.WriteByte(byte('a' + random.IntN(26)))
		}
		words = append(words, b.String())
	}
	return words
}

// script is text that a compressor makes four times smaller, as it does with programs:
// of few words, with lines that come again.
func script(words []string, seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, 3))
	var out bytes.Buffer
	var lines []string
	out.WriteString("/* ")
	for out.Len() < size {
		if len(lines) > 8 && random.IntN(3) > 0 {
			out.WriteString(lines[random.IntN(len(lines))])
			continue
		}
		var line strings.Builder
		for range 4 + random.IntN(8) {
			at := random.IntN(len(words))
			if random.IntN(2) > 0 {
				at %= 60
			}
			fmt.Fprintf(&line, "%s ", words[at])
		}
		lines = append(lines, line.String()+"\n")
		out.WriteString(lines[len(lines)-1])
	}
	out.WriteString(" */\n")
	return out.Bytes()
}
