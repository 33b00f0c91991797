package pipeline

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"dagger.io/dagger"
)

// withCaches mounts the package stores and the image's caches, which persist between
// builds. A build without caches and the builds of a comparison have their own.
func (r daggerRun) withCaches(p dagger.Platform) dagger.WithContainerFunc {
	suffix := ""
	switch {
	case r.opts.stores != "":
		suffix = "-" + filepath.Base(filepath.Dir(r.opts.stores))
	case r.opts.cold():
		suffix = "-" + r.salt
	}
	how := dagger.ContainerWithMountedCacheOpts{Sharing: sharing(r.in.Image.Sharing)}
	return func(c *dagger.Container) *dagger.Container {
		mount := func(at, name string) {
			c = c.WithMountedCache(at, r.client.CacheVolume(r.volume(p, name)+suffix), how)
		}
		mount(r.stores(), buildRoot+"/home/caches")
		for _, at := range r.in.Image.Caches {
			mount(strings.TrimPrefix(at, buildRoot+"/app/"), at) // relative to the tree, wherever it is
		}
		return c
	}
}

// volume is the key of the cache volume that an image has for a path. An engine may serve
// many repositories, apps and images, and what a cache holds may be made for a platform.
func (r daggerRun) volume(p dagger.Platform, at string) string {
	return fmt.Sprintf("shipit source=%q app=%q image=%q repository=%q platform=%q path=%q",
		r.in.SourceURL, r.in.app, r.in.Name, r.in.Image.Repository, string(p), path.Clean("/"+at))
}

// sharing is how a cache volume is used by builds that run at the same time.
func sharing(setting string) dagger.CacheSharingMode {
	switch setting {
	case "private":
		return dagger.CacheSharingModePrivate
	case "locked":
		return dagger.CacheSharingModeLocked
	}
	return dagger.CacheSharingModeShared
}
