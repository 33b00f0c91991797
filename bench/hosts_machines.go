package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/tools/devhost"
)

// hostFiles and hostBytes are the size of what goes to each machine: 61 MB.
const (
	hostFiles = 2500
	hostBytes = 24 << 10
)

// boot boots as many machines as the largest release needs, at once.
func boot(ctx context.Context, files map[string]string) (machines []*devhost.Host, down func() error, err error) {
	all := hostCounts()
	machines = make([]*devhost.Host, all[len(all)-1])
	say(fmt.Sprintf("boot %d machines", len(machines)))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range machines {
		group.Go(func() (err error) { machines[i], err = devhost.Up(gctx, devhost.Options{Files: files}); return err })
	}
	err = group.Wait()
	down = func() error {
		var ended errgroup.Group
		for _, m := range machines {
			if m != nil {
				ended.Go(m.Down)
			}
		}
		return ended.Wait()
	}
	if err != nil {
		return nil, nil, errors.Join(err, down())
	}
	return machines, down, nil
}

const hostImage = `app: hosts-%[2]d
builder: embedded
images:
  worker:
    repository: %[1]s/hosts/worker
    package: packages/gateway
    base: scratch
    entrypoint: [/bin/sleep, infinity]
roles:
`

const hostRole = `  host-%[1]d:
    image: worker
    stable: 1ms # no peer waits whether what is ready stays so
    host: {manager: systemd, service: hosts-%[2]d, address: %[3]s, key: %[4]s, knownHosts: %[5]s, root: /srv/hosts-%[2]d, stopTimeout: 2s}
`

func hostConfig(n int) string { return fmt.Sprintf("hosts-%d.yaml", n) }

// repository makes the monorepo, with a configuration for each number of machines, and
// builds its image.
func (h hosts) repository(ctx context.Context) error {
	say("build an image of 61 MB")
	if err := os.CopyFS(h.folder, os.DirFS(filepath.Join("..", "testdata", "monorepo"))); err != nil {
		return err
	}
	for _, n := range hostCounts() {
		text := fmt.Sprintf(hostImage, h.registry.address, n)
		for i, m := range h.machines[:n] {
			text += fmt.Sprintf(hostRole, i+1, n, m.Address, m.Key, m.KnownHosts)
		}
		if err := os.WriteFile(h.file(hostConfig(n)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	words := wordList()
	for i := range hostFiles {
		at := filepath.Join(h.tree(), "lib", fmt.Sprintf("part-%02d", i/100), fmt.Sprintf("file-%02d.js", i%100))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, script(words, uint64(i), hostBytes), 0o644)); err != nil {
			return err
		}
	}
	if _, err := h.command(ctx, "git", "init", "-q", "-b", "main"); err != nil {
		return err
	}
	return h.commit(ctx, 0)
}

// tree is the folder of what runs on the machines.
func (h hosts) tree() string { return h.file("packages/gateway") }

// commit changes one file, and builds.
func (h hosts) commit(ctx context.Context, count int) error {
	if err := os.WriteFile(filepath.Join(h.tree(), "variant.js"), fmt.Appendf(nil, "export const variant = %d;\n", count), 0o644); err != nil {
		return err
	}
	if _, err := h.command(ctx, "git", "add", "-A"); err != nil {
		return err
	}
	if _, err := h.command(ctx, "git", "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "commit", "-q", "-m", "variant"); err != nil {
		return err
	}
	_, err := h.command(ctx, h.tool.program, "build", "--config", hostConfig(1))
	return err
}
