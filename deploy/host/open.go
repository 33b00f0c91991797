package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// Target runs the host roles of one app, each as a service of the machine that
// the configuration names for it. Roles on one machine share a connection; one
// that was lost is made again by the next call.
type Target struct {
	app      string
	file     string // the configuration, for messages
	roles    map[string]config.Host
	first    string // the first role of a host
	machines *machine.Pool
	trees    *content.Trees
	bans     []service.Ban
	o        Options
}

// Options are the rare settings of a Target. The zero value works for all but
// Prepare, which needs ImageFor.
type Options struct {
	// ImageFor fetches the image of a reference by digest for a platform such as
	// linux/amd64.
	ImageFor func(ctx context.Context, ref, platform string) (v1.Image, error)
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
	// Partial lets Open succeed though machines cannot be reached: each call for a
	// role there tries again, and fails.
	Partial  bool
	Progress release.Progress

	timeout, keepAlive time.Duration // see machine.Options
	listen             time.Duration // how long a service with a port has until it listens there; default 1m
}

// Open connects to every machine that cfg names for a host role, all at once. A
// machine that cannot be reached is an error that names it and the first role
// there, and has a Hint that says what to do, unless o.Partial is set.
func Open(ctx context.Context, cfg config.Config, o Options) (*Target, error) {
	t := &Target{app: cfg.App, file: cfg.Path, roles: map[string]config.Host{}, bans: bansOf(cfg), o: o}
	t.trees = content.NewTrees(t.layers)
	t.machines = machine.NewPool(machine.Options{Timeout: o.timeout, KeepAlive: o.keepAlive})
	var firstThere []string // the first role of each machine
	seen := map[string]bool{}
	for _, r := range cfg.Roles {
		if r.Host == nil {
			continue
		}
		h := *r.Host
		h.Key, h.KnownHosts = cfg.Beside(h.Key), cfg.Beside(h.KnownHosts)
		t.roles[r.Name] = h
		if t.first == "" {
			t.first = r.Name
		}
		if key := machine.Key(h); !seen[key] {
			seen[key] = true
			firstThere = append(firstThere, r.Name)
		}
	}
	errs := make([]error, len(firstThere))
	var wg sync.WaitGroup
	for i, role := range firstThere {
		wg.Go(func() {
			if _, err := t.machines.Of(ctx, t.roles[role]); err != nil {
				errs[i] = fmt.Errorf("%s: %w", role, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil && !o.Partial {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// runner is connected to the machine on which the role runs, and the host is that
// machine's configuration. The role's definition names the machine: the configuration
// may have moved the role to another one since.
func (t *Target) runner(ctx context.Context, role release.Role) (runner, config.Host, error) {
	h, configured := t.roles[role.Name]
	recorded, known := t.recorded(role)
	switch {
	case !configured && !known:
		return runner{}, h, fmt.Errorf("%s: %s no longer names this role of a host, and its record does not name the machine", role.Name, t.file)
	case !configured:
		h = recorded
	case known && recorded.Address != h.Address:
		recorded.Keep, recorded.Runtime = h.Keep, h.Runtime
		h = recorded
	}
	m, err := t.machines.Of(ctx, h)
	var auth *machine.AuthError
	switch {
	case errors.As(err, &auth) && h.Key == "":
		return runner{}, h, fmt.Errorf("%s: %w; load its key with ssh-add and run the command again", role.Name, err)
	case err != nil:
		return runner{}, h, fmt.Errorf("%s: %w", role.Name, err)
	}
	return runner{m, t.o.Progress, cmp.Or(t.o.listen, time.Minute)}, h, nil
}

// recorded is the host that the role's definition names; false: it names none. It does
// not name a key or known hosts: those are taken from a configured role on the same
// machine, or else from the role itself as it is configured now, or from the first role.
func (t *Target) recorded(role release.Role) (config.Host, bool) {
	d, err := service.Define(role)
	if err != nil || d.Address == "" {
		return config.Host{}, false
	}
	h := config.Host{Address: d.Address, Service: d.Service, Root: d.Root}
	if d.Address == release.LocalMachine {
		h.Address = ""
	}
	similar := t.roles[t.first]
	if configured, ok := t.roles[role.Name]; ok {
		similar = configured
	}
	for _, other := range t.roles {
		if other.Address == h.Address {
			similar = other
		}
	}
	h.Key, h.KnownHosts = similar.Key, similar.KnownHosts
	return h, true
}

// Disk is that of the first host role's machine, for a ledger; nil if it is this one.
// folder is where the ledger belongs.
func (t *Target) Disk() (disk *machine.Disk, folder string) {
	h := t.roles[t.first]
	folder = path.Join(h.RootOr(t.app), "ledger")
	if h.Address == "" {
		return nil, folder
	}
	return machine.NewDisk(func(ctx context.Context) (*machine.Machine, error) {
		r, _, err := t.runner(ctx, release.Role{Name: t.first})
		return r.Machine, err
	}), folder
}

// Close ends all connections.
func (t *Target) Close() error { return t.machines.Close() }
