package pipeline

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// cacheLimit is how many bytes of layers stay in the cache; the least recently used
// are removed first.
const cacheLimit = 5 << 30

// cache is a folder of layers, found by the key of their inputs.
type cache struct{ dir string }

func openCache(dir string) (cache, error) {
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return cache{}, err
		}
		dir = filepath.Join(user, "shipit")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return cache{}, err
	}
	return cache{dir}, os.MkdirAll(filepath.Join(dir, "builds"), 0o755)
}

func (c cache) blobs() string { return filepath.Join(c.dir, "blobs") }

// build is the layers that were built for one key.
type build struct {
	Builder string             `json:"builder"`
	Layers  map[string][]layer `json:"layers"` // by platform
}

func (c cache) buildFile(key string) string { return filepath.Join(c.dir, "builds", key+".json") }

// load returns the build of a key, if all of its layers are there.
func (c cache) load(key string) (build, bool) {
	data, err := os.ReadFile(c.buildFile(key))
	if err != nil {
		return build{}, false
	}
	var b build
	if json.Unmarshal(data, &b) != nil || len(b.Layers) == 0 {
		return build{}, false
	}
	now := time.Now()
	for _, layers := range b.Layers {
		for i := range layers {
			if !layers[i].present(c.blobs()) {
				return build{}, false
			}
			_ = os.Chtimes(layers[i].file, now, now)
		}
	}
	return b, true
}

// store writes a build and removes layers beyond the limit.
func (c cache) store(key string, b build) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(c.dir, "builds"), ".build-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close(), os.Rename(f.Name(), c.buildFile(key))); err != nil {
		return err
	}
	return trim(filepath.Join(c.blobs(), "sha256"), cacheLimit)
}

// trim removes the least recently used files of dir until at most limit bytes are
// left. Files used within the last hour stay. A removed layer that is open stays
// readable.
func trim(dir string, limit int64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
			total += info.Size()
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if total <= limit || time.Since(info.ModTime()) < time.Hour {
			break
		}
		if err := os.Remove(filepath.Join(dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= info.Size()
	}
	return nil
}
