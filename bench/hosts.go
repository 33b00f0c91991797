package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

// hostCounts are how many machines a release goes to.
func hostCounts() []int { return []int{1, 3, 8} }

// hostsSection begins the names of the sections.
const hostsSection = "Hosts"

// hostRows measures releases to 1, 3 and 8 machines over SSH, each a systemd in namespaces
// of this machine: all of them share its processors and its disk.
func hostRows(ctx context.Context, g *environment, t *table) (err error) {
	if why := devhost.Skip(); why != "" {
		t.skipped = append(t.skipped, "hosts: "+why)
		return nil
	}
	rsync, err := newRsync(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		t.skipped = append(t.skipped, "rsync: "+err.Error())
	}
	crane, version, err := buildPeer(ctx, "crane")
	if err != nil {
		return err
	}
	plain := tool{name: plainWay, program: crane, version: version}
	machines, down, err := boot(ctx, rsync.files())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down()) }()
	proxy, err := countBytes(ctx, g.registry)
	if err != nil {
		return err
	}
	defer proxy.close()
	h := hosts{deployment: g.at(t.tools[0], "hosts"), machines: machines, registry: proxy, rsync: rsync, plain: plain}
	if err := rsync.install(ctx, machines); err != nil {
		return err
	}
	if err := h.repository(ctx); err != nil {
		return err
	}
	found := map[int]figures{}
	for _, n := range hostCounts() {
		if found[n], err = h.rows(ctx, t, n); err != nil {
			return fmt.Errorf("%s: %w", machinesOf(n), err)
		}
	}
	h.atOnce(t, found)
	return nil
}

// hosts are the machines, and what is released to them.
type hosts struct {
	deployment
	machines []*devhost.Host
	registry *byteCount
	rsync    rsync
	plain    tool
}

// hostStep is a command for all machines of a release.
type hostStep struct {
	name    string // of its row
	command string // of shipit
	change  bool   // another file is committed before
	send    bool   // what each machine gets is not there yet
	rsync   bool   // rsync has a way to do it
}

func hostSteps() []hostStep {
	return []hostStep{
		{"the first release, all in all", "release", false, true, true},
		{"a file changed, all in all", "release", true, true, true},
		{"nothing changed", "release", false, false, true},
		{"status", "status", false, false, false},
		{"back to the release before", "rollback", false, false, true},
	}
}

// rows measures every step for n machines, and gives the times of preparing them.
func (h hosts) rows(ctx context.Context, t *table, n int) (prepared figures, err error) {
	say("release to " + machinesOf(n))
	section := hostsIn(n)
	prepared = figures{}
	changed, sent := figures{}, figures{}
	for _, step := range hostSteps() {
		if step.change {
			if err := h.commit(ctx, n); err != nil {
				return nil, err
			}
		}
		took, err := h.step(ctx, n, step)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
		t.figures(section, step.name, seconds, took)
		if !step.send {
			continue
		}
		ready, err := h.prepared(n)
		if err != nil {
			return nil, err
		}
		if step.change {
			changed.add(h.tool, ready.Seconds())
			continue
		}
		prepared.add(h.tool, ready.Seconds())
		sent.add(h.tool, h.registry.kibibytes())
		if err := h.plainly(ctx, n, prepared, sent); err != nil {
			return nil, err
		}
	}
	t.figures(section, "prepare every machine", seconds, prepared)
	t.figures(section, "prepare every machine: read from the registry", kibibyte, sent)
	t.figures(section, "prepare every machine: a file changed", seconds, changed)
	columns := []tool{h.tool, h.plain}
	if h.rsync.program != "" {
		columns = append(columns, h.rsync.column())
	}
	t.among(section, columns)
	return prepared, nil
}

func hostsIn(n int) string { return hostsSection + ": " + machinesOf(n) }

func machinesOf(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// step measures one command of shipit, and what rsync does in its place.
func (h hosts) step(ctx context.Context, n int, step hostStep) (figures, error) {
	took := figures{}
	if err := os.RemoveAll(h.events()); err != nil {
		return nil, err
	}
	h.registry.reset()
	m, err := h.must(ctx, [][]string{{h.tool.program, step.command, "-C", h.folder, "--config", hostConfig(n), "--events", h.events()}})
	if err != nil {
		return nil, err
	}
	took.add(h.tool, m.took().Seconds())
	if h.rsync.program == "" || !step.rsync {
		return took, nil
	}
	if step.command == "rollback" {
		if _, err := h.command(ctx, "git", "checkout", "-q", "HEAD~1"); err != nil {
			return nil, err
		}
		defer func() { _, _ = h.command(ctx, "git", "checkout", "-q", "main") }()
	}
	m, err = h.must(ctx, h.rsync.lines(h.tree(), h.machines[:n]))
	if err != nil {
		return nil, err
	}
	took.add(h.rsync.column(), m.took().Seconds())
	return took, nil
}

func (h hosts) events() string { return filepath.Join(h.dir, "hosts.events") }

// plainly adds how long the plainest way to the same bytes on the same disk takes, and what
// it reads from the registry.
func (h hosts) plainly(ctx context.Context, n int, took, sent figures) error {
	image, err := h.command(ctx, h.tool.program, "build", "--config", hostConfig(n))
	if err != nil {
		return err
	}
	h.registry.reset()
	m, err := h.must(ctx, [][]string{plainly(h.plain.program, image, h.machines[:n])})
	if err != nil {
		return err
	}
	took.add(h.plain, m.took().Seconds())
	sent.add(h.plain, h.registry.kibibytes())
	return nil
}

// prepared is the time from the first machine's preparation to the end of the last one's,
// as the events of the last release tell it.
func (h hosts) prepared(n int) (time.Duration, error) {
	text, err := os.ReadFile(h.events())
	if err != nil {
		return 0, err
	}
	var first, last time.Time
	count := 0
	for line := range bytes.Lines(text) {
		var e release.Event
		if json.Unmarshal(line, &e) != nil || e.Phase != release.PhaseApply || e.Mark != release.MarkDone || !strings.HasPrefix(e.Message, "unpacked ") {
			continue
		}
		count++
		if began := e.At.Add(-e.Took); first.IsZero() || began.Before(first) {
			first = began
		}
		if e.At.After(last) {
			last = e.At
		}
	}
	if count != n {
		return 0, fmt.Errorf("%d machines were prepared, not %d", count, n)
	}
	return last.Sub(first), nil
}

// atOnce holds the preparation of several machines against that of one: what it takes
// beyond the registry, the processors and the disk should hardly grow.
func (h hosts) atOnce(t *table, prepared map[int]figures) {
	ours := func(n int) float64 { return median(prepared[n][h.tool.name]) }
	beyond := func(n int) float64 { return ours(n) - median(prepared[n][h.plain.name]) }
	var columns []tool
	for _, n := range hostCounts() {
		columns = append(columns, tool{name: machinesOf(n)})
	}
	for _, measure := range []struct {
		name string
		text func(n int) string
	}{
		{"prepare every machine", func(n int) string { return seconds.text(ours(n)) }},
		{"÷ that of one machine", func(n int) string { return fmt.Sprintf("%.2f", ours(n)/ours(1)) }},
		{"beyond " + plainWay, func(n int) string { return seconds.text(beyond(n)) }},
		{"that ÷ all of one machine", func(n int) string { return fmt.Sprintf("%.2f", beyond(n)/ours(1)) }},
	} {
		cells := map[string]string{}
		for _, n := range hostCounts() {
			cells[machinesOf(n)] = measure.text(n)
		}
		t.words(hostsSection+": at once", measure.name, cells)
	}
	t.among(hostsSection+": at once", columns)
}
