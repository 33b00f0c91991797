package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// buildRoot is the folder in which commands run. Tools write its path into their
// output, so it must be the same on every machine.
const buildRoot = "/tmp/shipit-build"

// embedded builds on this machine: from git's objects alone, or in a clean folder if
// there are commands to run.
func embedded(opts Options) builder {
	return func(ctx context.Context, in Inputs, list []platform, use use) error {
		var names []string
		for _, p := range list {
			names = append(names, p.name)
		}
		if len(in.Image.Run) == 0 && len(in.Image.Test) == 0 {
			c, err := gitContent(ctx, in, true)
			if err != nil {
				return err
			}
			return use(names, c)
		}
		all, err := batches(ctx, in, list, machine(), opts)
		if err != nil {
			return err
		}
		s, err := openStaging(ctx, opts)
		if err != nil {
			return err
		}
		defer s.close()
		return eachBatch(all, opts, func(b batch) error {
			if err := s.empty(); err != nil {
				return err
			}
			return s.build(ctx, b.in, func(c content) error { return use(b.names, c) })
		})
	}
}

// embeddedTests runs the tests of the inputs on this machine, and makes no image.
func embeddedTests(opts Options) tester {
	return func(ctx context.Context, in Inputs, list []platform) ([]TestResult, error) {
		all, err := batches(ctx, in, list, machine(), opts)
		if err != nil {
			return nil, err
		}
		s, err := openStaging(ctx, opts)
		if err != nil {
			return nil, err
		}
		defer s.close()
		b := tested(all)[0]
		if _, err := s.prepare(ctx, b.in); err != nil {
			return nil, err
		}
		return s.tests(ctx, b.in)
	}
}

// build exports the closure, runs the commands and passes the resulting tree to use.
// The tests run last, when the layers have been written: they run in the same tree.
func (s staging) build(ctx context.Context, in Inputs, use func(content) error) (err error) {
	given, err := s.prepare(ctx, in)
	if err != nil {
		return err
	}
	// An install goes back whatever becomes of the image: the next build needs it.
	defer func() { err = errors.Join(err, given.moved.back()) }()
	c := given.content
	if len(in.Image.Run) > 0 {
		if c, err = s.made(ctx, in, given); err != nil {
			return err
		}
	}
	if err := use(c); err != nil {
		return err
	}
	_, err = s.tests(ctx, in)
	return err
}

// made is what the commands have made of what they were given.
func (s staging) made(ctx context.Context, in Inputs, given closure) (content, error) {
	c, err := readDir(s.tree())
	if err != nil {
		return c, fmt.Errorf("read what the commands made: %w", err)
	}
	if c.dependencies, err = s.installLayer(in, given.install); err != nil {
		return c, err
	}
	if c, err = given.taken(ctx, in, c); err != nil {
		return c, err
	}
	// If /tmp is a symbolic link, programs see the path that it resolves to.
	real, err := filepath.EvalSymlinks(filepath.Dir(s.seen))
	if err != nil {
		return c, err
	}
	return normalise(c, filepath.Join(real, filepath.Base(s.seen), "app"), filepath.Join(s.seen, "app"))
}

// prepare makes the tree that the commands leave. It returns what they were given.
func (s staging) prepare(ctx context.Context, in Inputs) (closure, error) {
	c, err := closureOf(ctx, in)
	if err != nil {
		return closure{}, err
	}
	from, err := s.start(ctx, in, c.content)
	if err != nil {
		return closure{}, err
	}
	for _, args := range from.left {
		if err := s.run(ctx, in, args); err != nil {
			return closure{}, err
		}
	}
	if len(from.left) == 0 {
		c.install = from.install
	}
	c.moved = from.moved
	return c, nil
}

// started is a tree in which commands run.
type started struct {
	left    [][]string // those that are still to run
	install string     // key of the install that has run; "" if none has, or none is kept
	moved   moved
}

// start makes the tree in which the commands run: an install has run before the source
// went in.
func (s staging) start(ctx context.Context, in Inputs, c content) (started, error) {
	step, why, err := divide(ctx, in, c)
	if err != nil {
		return started{}, err
	}
	if step != nil {
		var from started
		from, why, err = s.install(ctx, in, *step)
		if err != nil || why == "" {
			return from, err
		}
		if err := errors.Join(s.clean(), mkdir(s.tree()), mkdir(s.home())); err != nil {
			return started{}, err
		}
	}
	if why != "" {
		s.opts.report(release.MarkNote, withSource, why)
	}
	if err := c.export(ctx, s.tree()); err != nil {
		return started{}, fmt.Errorf("export the closure: %w", err)
	}
	return started{left: in.Image.Run}, nil
}

// install makes the tree after the install, from the cache or by running it, and adds the
// source. why is set if the install made a file that the source has too: then what it made
// is kept, and the tree is of no use.
func (s staging) install(ctx context.Context, in Inputs, step install) (from started, why string, err error) {
	kept, err := installsOf(in, s.opts)
	if err != nil {
		return started{}, "", err
	}
	found, isMoved, err := kept.take(ctx, step.key, s.tree())
	if err != nil {
		return started{}, "", fmt.Errorf("restore the install: %w", err)
	}
	if found {
		s.opts.report(release.MarkDone, asBefore, strings.Join(step.args, " "))
	} else if err := s.runInstall(ctx, in, step, kept); err != nil {
		return started{}, "", err
	}
	if !found && !isMoved {
		if err := kept.keep(ctx, step.key, s.tree()); err != nil {
			return started{}, "", fmt.Errorf("keep the install: %w", err)
		}
	}
	from = started{left: in.Image.Run[1:], install: step.key}
	if s.opts.cold() {
		from.install = ""
	}
	if isMoved {
		from.moved = moved{kept, step, s.tree(), step.foldersWithout(s.tree())}
	}
	if why, err = step.addSource(ctx, s.tree()); err == nil && why != "" && isMoved {
		err = kept.give(step.key, s.tree())
	}
	return from, why, err
}

// runInstall runs an install on what it reads. The cache makes room for it meanwhile.
func (s staging) runInstall(ctx context.Context, in Inputs, step install, kept installCache) error {
	if err := step.reads.export(ctx, s.tree()); err != nil {
		return fmt.Errorf("export what the install reads: %w", err)
	}
	if err := kept.makeRoom(); err != nil {
		return fmt.Errorf("make room for the install: %w", err)
	}
	return s.run(ctx, in, step.args)
}

// moved is an install that is in the tree of a build and is to go back to where it is kept;
// the zero value if there is none.
type moved struct {
	kept    installCache
	step    install
	tree    string
	folders []string // of the source, which the install has not
}

// back takes the source out of the tree again, and moves the tree to where it is kept. A
// build that is killed before has lost its install: no part of one is ever kept.
func (m moved) back() error {
	if m.tree == "" {
		return nil
	}
	err := m.step.removeSource(m.tree, m.folders)
	if err == nil {
		err = m.kept.give(m.step.key, m.tree)
	}
	if err != nil {
		return fmt.Errorf("keep the install: %w", err)
	}
	return nil
}
