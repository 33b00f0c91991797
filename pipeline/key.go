package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/joelhooks/shipit/config"
)

// format is increased whenever the same inputs give other bytes than before.
const format = 6

// compressor names the library that compresses layers: its version determines their
// bytes. A test compares it with go.mod.
const compressor = "klauspost/compress v1.20.4 flate 5, by 1 MiB"

// key is the hash of everything that determines the image's bytes and whether it may
// be pushed: an image that is found by its key is not proven again. Names of secrets
// and caches outside the tree are not in it.
func key(in Inputs) string {
	type file struct{ Path, Mode, ID string }
	type started struct { // a role whose start is tried
		Name string
		Env  map[string]string
		Port int
	}
	img := in.Image
	recipe := struct {
		Format             int
		Compressor         string
		Package, SourceURL string
		Base, Toolchain    string
		Platforms          []string
		Run, Test          [][]string
		Entrypoint         []string
		User               string
		Env                map[string]string
		Prove              config.Prove
		Scripts            []string
		Files              []file
		Caches             []string  `json:",omitempty"` // nothing of them is in the image
		Started            []started `json:",omitempty"`
		Functions, Shared  []string  `json:",omitempty"`

		Services map[string]config.Service `json:",omitempty"` // of the tests
		Parallel bool                      `json:",omitempty"`
	}{
		Format: format, Compressor: compressor, Package: in.Closure.Package, SourceURL: in.SourceURL,
		Base: img.Base, Toolchain: img.Toolchain, Platforms: slices.Sorted(slices.Values(img.Platforms)),
		Run: img.Run, Test: img.Test, Entrypoint: img.Entrypoint, User: img.UserOr(), Env: img.Env, Prove: img.Prove,
		Scripts: in.scripts, Caches: treeCaches(img), Functions: img.Functions,
		Services: img.Services, Parallel: img.Parallel,
	}
	if img.Prove.Start != 0 {
		for _, r := range in.roles {
			recipe.Started = append(recipe.Started, started{r.Name, r.Env, r.Port})
		}
	}
	if len(img.Functions) > 0 {
		recipe.Shared = slices.Sorted(slices.Values(in.shared))
	}
	for _, f := range in.Closure.Files {
		id := f.ID
		if f.Path == in.Closure.Lockfile && in.Closure.CutLockfile != nil {
			sum := sha256.Sum256(in.Closure.CutLockfile)
			id = "pruned:" + hex.EncodeToString(sum[:])
		}
		recipe.Files = append(recipe.Files, file{f.Path, f.Mode, id})
	}
	data, err := json.Marshal(recipe)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
