package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// growthSizes are the histories beside which the commands are measured.
func growthSizes() []int { return []int{10, 1000, 10000} }

const growthSection = "A history that grows"

// growthRows measures what commands cost beside few records and beside many. One release
// is real; the others are its copies, written by the ledger itself as so many runs would
// have left them: the newest in the cluster, all of them in the registry.
func growthRows(ctx context.Context, g *environment, t *table) error {
	all := map[int]map[string]*costs{}
	for _, n := range growthSizes() {
		d := g.at(t.tools[0], fmt.Sprintf("growth-%d", n))
		if err := d.grow(ctx, n); err != nil {
			return fmt.Errorf("%d records: %w", n, err)
		}
		var err error
		if all[n], err = d.growthCosts(ctx); err != nil {
			return fmt.Errorf("%d records: %w", n, err)
		}
	}
	for _, command := range growthCommands() {
		for _, figure := range []struct {
			name string
			unit unit
			of   func(*costs) figures
		}{
			{command, seconds, func(c *costs) figures { return c.took }},
			{command + ": requests to the API server", requests, func(c *costs) figures { return c.requests }},
			{command + ": peak memory", kibibyte, func(c *costs) figures { return c.memory }},
		} {
			t.words(growthSection, figure.name, growthCells(figure.unit, func(n int) float64 {
				return median(figure.of(all[n][command])[t.tools[0].name])
			}))
		}
	}
	t.among(growthSection, growthColumns())
	return nil
}

// growthCommands are those that are measured, as they are typed.
func growthCommands() []string { return []string{"status", "history", "verify", "release", "rollback"} }

func growthColumns() []tool {
	var columns []tool
	for _, n := range growthSizes() {
		columns = append(columns, tool{name: growthColumn(n)})
	}
	return append(columns, tool{name: growsColumn})
}

// growsColumn says what becomes of a figure when the history is ten times as long.
const growsColumn = "from 1,000 on"

func growthColumn(n int) string { return fmt.Sprintf("%d records", n) }

func growthCells(u unit, of func(n int) float64) map[string]string {
	cells := map[string]string{}
	for _, n := range growthSizes() {
		cells[growthColumn(n)] = u.text(of(n))
	}
	sizes := growthSizes()
	cells[growsColumn] = growth(u, of(sizes[len(sizes)-2]), of(sizes[len(sizes)-1]))
	return cells
}

// growth says how many times as large a figure has become: "flat" if by no more than what
// is no regression either.
func growth(u unit, before, after float64) string {
	if after <= before*tolerance || u == seconds && after-before <= tremor {
		return "flat"
	}
	return fmt.Sprintf("**%.1f ×**", after/before)
}

// growthCosts measures every command, those that write alternately: what a release
// changes, the rollback takes back. No pod restarts.
func (d deployment) growthCosts(ctx context.Context) (map[string]*costs, error) {
	all := map[string]*costs{}
	for _, command := range growthCommands() {
		all[command] = &costs{}
	}
	for round := range d.rounds {
		if err := d.writeGrowth(ctx, variant{objects: 1, revision: round + 1}); err != nil {
			return nil, err
		}
		for _, command := range growthCommands() {
			if _, err := all[command].of(ctx, d, [][]string{{d.tool.program, command, "-C", d.folder}}); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// writeGrowth commits a variant whose app and repository are those of this history alone,
// and builds its image.
func (d deployment) writeGrowth(ctx context.Context, e variant) error {
	if err := d.tool.commands.write(ctx, d, e); err != nil {
		return err
	}
	for _, file := range []string{"shipit.yaml", "k8s/app.yaml"} {
		text, err := os.ReadFile(d.file(file))
		if err != nil {
			return err
		}
		own := strings.ReplaceAll(string(text), d.registry+"/bench/worker", d.growthRepository())
		if err := os.WriteFile(d.file(file), []byte(own), 0o644); err != nil {
			return err
		}
	}
	if _, err := d.command(ctx, "git", "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "commit", "-q", "-a", "-m", "variant"); err != nil {
		return err
	}
	_, err := d.command(ctx, d.tool.program, "build")
	return err
}

func (d deployment) growthRepository() string { return d.registry + "/" + d.namespace + "/worker" }

// grow makes a history of n records.
func (d deployment) grow(ctx context.Context, n int) error {
	say(fmt.Sprintf("make %d records", n))
	if err := d.makeNamespace(ctx); err != nil {
		return err
	}
	if err := d.writeGrowth(ctx, variant{objects: 1}); err != nil {
		return err
	}
	if _, err := d.must(ctx, d.tool.commands.deploy(d)); err != nil {
		return err
	}
	c, err := client.Connect(client.Options{Kubeconfig: d.cluster.Kubeconfig})
	if err != nil {
		return err
	}
	repository, err := name.NewRepository(d.growthRepository() + "/releases")
	if err != nil {
		return err
	}
	h := history{live: store.New(c, d.namespace, d.namespace), made: ledgertest.NewStore()}
	h.ledger = ledger.New(h.made, d.namespace, ledger.Options{Mirror: ledger.NewRegistryMirror(repository)})
	return h.grow(ctx, n)
}

// history is a ledger of a cluster that is made in memory.
type history struct {
	live   *store.Store
	made   *ledgertest.Store
	ledger *ledger.Ledger
}

func (h history) grow(ctx context.Context, n int) error {
	first, err := h.live.Read(ctx, "000001")
	if err != nil {
		return err
	}
	at, err := h.live.ReadLock(ctx)
	if err != nil {
		return err
	}
	if _, err := h.made.Create(ctx, first); err != nil {
		return err
	}
	lock := at
	lock.Version = ""
	if _, err := h.made.SwapLock(ctx, lock); err != nil {
		return err
	}
	if err := h.repeat(ctx, n); err != nil {
		return err
	}
	return h.move(ctx, at.Version)
}

// repeat records the first release again and again, and archives what a cluster would
// not keep.
func (h history) repeat(ctx context.Context, n int) error {
	lock, err := h.ledger.Lock(ctx, ledger.LockOptions{TTL: time.Hour})
	if err != nil {
		return err
	}
	entry, err := h.ledger.Read(ctx, 1)
	if err != nil {
		return err
	}
	for seq := 2; seq <= n; seq++ {
		rel := entry.Release()
		rel.Seq = 0
		begun, err := h.ledger.Begin(ctx, lock, ledger.PendingRecord{Release: rel})
		if err != nil {
			return err
		}
		record := begun.Record
		record.Outcome, record.Parity, record.Roles, record.SettledAt = release.Settled, true, entry.Record.Roles, time.Now().UTC()
		if _, err := h.ledger.Seal(ctx, begun, record); err != nil {
			return err
		}
	}
	if _, err := h.ledger.Copy(ctx, ledger.Copied{}); err != nil {
		return err
	}
	for moved := 1; moved > 0; {
		if moved, err = h.ledger.Archive(ctx, lock); err != nil {
			return err
		}
	}
	return lock.Unlock(ctx)
}

// move brings what was made into the cluster.
func (h history) move(ctx context.Context, version string) error {
	names := map[string]bool{}
	for _, kind := range []string{"", "archive"} {
		list, err := h.made.Names(ctx, kind)
		if err != nil {
			return err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	if err := h.live.Drop(ctx, "", func(name string) bool { return !names[name] }); err != nil {
		return err
	}
	delete(names, "000001")
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for name := range names {
		group.Go(func() error {
			e, err := h.made.Read(gctx, name)
			if err == nil {
				_, err = h.live.Create(gctx, e)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	lock, err := h.made.ReadLock(ctx)
	if err != nil {
		return err
	}
	lock.Version = version
	if swapped, err := h.live.SwapLock(ctx, lock); err != nil || swapped == "" {
		return errors.Join(err, errors.New("the lock was taken meanwhile"))
	}
	return nil
}
