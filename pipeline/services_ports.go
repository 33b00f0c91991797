package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// lockPorts locks the ports of the image's services, so that its tests never meet a service
// of another image: services of the embedded builder are processes of this machine. It waits
// while another build of this user has one of the ports. unlock lets all of them go.
func (s staging) lockPorts(ctx context.Context, img config.Image) (unlock func(), err error) {
	var ports []int
	for _, name := range serviceNames(img) {
		ports = append(ports, img.Services[name].Ports...)
	}
	slices.Sort(ports) // all builds lock in this order, so that no two wait for each other
	var held []*os.File
	unlock = func() {
		for _, file := range held {
			_ = file.Close()
		}
	}
	for _, port := range slices.Compact(ports) {
		file, err := s.lockPort(ctx, port)
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock port %d: %w", port, err)
		}
		held = append(held, file)
	}
	return unlock, nil
}

// lockPort locks one port. Its file is in the user's cache folder, because builds that have
// other caches have the same ports; without such a folder it is in the build's own.
func (s staging) lockPort(ctx context.Context, port int) (*os.File, error) {
	store, err := openCache("")
	if err != nil {
		store, err = openCache(s.opts.CacheDir)
	}
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(store.dir, "ports")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	file, busy, err := lockFile(filepath.Join(folder, strconv.Itoa(port)))
	if err != nil || !busy {
		return file, err
	}
	s.opts.report(release.MarkNote, "another build has port %d for its tests: waiting for it", port)
	return file, waitFor(ctx, file)
}
