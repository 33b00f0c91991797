package config

import (
	"os"
	"path/filepath"
)

// Find is the configuration file in dir or in the nearest folder above it, up to the
// top of its git repository. If there is none, it is the one that should be in dir.
func Find(dir string) string {
	missing := filepath.Join(dir, File)
	if _, err := os.Stat(missing); err == nil {
		return missing
	}
	at, err := filepath.Abs(dir)
	if err != nil {
		return missing
	}
	for {
		file := filepath.Join(at, File)
		if _, err := os.Stat(file); err == nil {
			return file
		}
		_, top := os.Stat(filepath.Join(at, ".git"))
		parent := filepath.Dir(at)
		if top == nil || parent == at {
			return missing
		}
		at = parent
	}
}
