// Command bench measures shipit beside its peers: the same objects
// on the same cluster in one run become one table in Markdown.
//
//	cd bench && go run .            pods are simulated; docs/benchmarks.md gets the table
//	cd bench && go run . -check     fails if a ratio is a fifth worse than in ratios.json
//	cd bench && go run . -real      real pods: kubelet and containerd, as root on Debian or Ubuntu
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	real   bool
	rounds int
	limit  time.Duration
	only   string
	doc    string
	keep   string
	check  bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == measureArg {
		os.Exit(measureMain(os.Args[2:]))
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	var o options
	flag.BoolVar(&o.real, "real", false, "real pods instead of simulated ones")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each figure is taken; the table holds the median")
	flag.DurationVar(&o.limit, "limit", 15*time.Second, "time limit given to peers, and to shipit, for one rollout")
	flag.StringVar(&o.only, "only", "", "comma-separated parts to run: "+strings.Join(partNames(), ", ")+" (default: all)")
	flag.StringVar(&o.doc, "doc", "../docs/benchmarks.md", "file that gets the table of a whole run, and the pictures beside it; empty: only stdout")
	flag.BoolVar(&o.check, "check", false, "write nothing, and fail if a ratio is more than 20 % worse than the one in "+ratiosFile)
	flag.StringVar(&o.keep, "keep", "", "folder to work in and to leave for inspection (default: a temporary one)")
	flag.Parse()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench is one run.
func bench(ctx context.Context, o options) (err error) {
	parts, err := chosen(o.only)
	if err != nil {
		return err
	}
	dir, clean, err := workFolder(o.keep)
	if err != nil {
		return err
	}
	defer clean()
	began := time.Now()

	tools, skipped, err := tools(ctx, dir)
	if err != nil {
		return err
	}
	g, err := newEnvironment(ctx, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close(ctx)) }()
	if err := g.prepare(ctx, tools); err != nil {
		return err
	}

	t := &table{load: loadNow(), tools: tools, skipped: skipped, real: o.real, rounds: o.rounds, limit: o.limit}
	for _, p := range parts {
		say("measure: " + p.name)
		if err := p.run(ctx, g, t); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
	}
	t.took = time.Since(began)
	fmt.Print(t.markdown())
	switch {
	case o.check:
		return t.check(ratiosFile)
	case o.doc == "" || o.only != "" || o.real:
		return nil // a part is no record of the whole
	}
	return errors.Join(t.writeTo(o.doc), t.draw(o.doc), t.record(ratiosFile))
}

// ratiosFile holds what the run in the documentation found.
const ratiosFile = "ratios.json"

// part is one group of rows.
type part struct {
	name string
	run  func(context.Context, *environment, *table) error
}

func allParts() []part {
	return []part{
		{"unchanged", unchangedRows}, {"image", imageRows}, {"rollback", rollbackRows}, {"large", largeRows},
		{"failures", failureRows}, {"mishaps", mishapRows}, {"live", liveRows},
		{"growth", growthRows}, {"hosts", hostRows},
	}
}

func partNames() []string {
	var names []string
	for _, p := range allParts() {
		names = append(names, p.name)
	}
	return names
}

func chosen(only string) ([]part, error) {
	if only == "" {
		return allParts(), nil
	}
	var parts []part
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, p := range allParts() {
			if p.name == name {
				parts, found = append(parts, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("-only %q: the parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	return parts, nil
}

func workFolder(keep string) (dir string, clean func(), err error) {
	if keep != "" {
		dir, err := filepath.Abs(keep)
		return dir, func() {}, errors.Join(err, os.MkdirAll(dir, 0o755))
	}
	dir, err = os.MkdirTemp("", "shipit-bench-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

func say(line string) { fmt.Fprintln(os.Stderr, "·", line) }
