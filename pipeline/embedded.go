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
func (s staging) build(ctx context.Context, in Inputs, use func(content) error) error {
	given, err := s.prepare(ctx, in)
	if err != nil {
		return err
	}
	c := given.content
	if len(in.Image.Run) > 0 {
		if c, err = readDir(s.tree()); err != nil {
			return fmt.Errorf("read what the commands made: %w", err)
		}
		if c.dependencies, err = s.installLayer(in, given.install); err != nil {
			return err
		}
		if c, err = given.taken(ctx, in, c); err != nil {
			return err
		}
		// If /tmp is a symbolic link, programs see the path that it resolves to.
		real, err := filepath.EvalSymlinks(filepath.Dir(s.seen))
		if err != nil {
			return err
		}
		if c, err = normalise(c, filepath.Join(real, filepath.Base(s.seen), "app"), filepath.Join(s.seen, "app")); err != nil {
			return err
		}
	}
	if err := use(c); err != nil {
		return err
	}
	_, err = s.tests(ctx, in)
	return err
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
	return c, nil
}

// started is a tree in which commands run.
type started struct {
	left    [][]string // those that are still to run
	install string     // key of the install that has run; "" if none has, or none is kept
}

// start makes the tree in which the commands run: an install has run before the source
// went in.
func (s staging) start(ctx context.Context, in Inputs, c content) (started, error) {
	step, why, err := divide(ctx, in, c)
	if err != nil {
		return started{}, err
	}
	if step != nil {
		why, err = s.install(ctx, in, *step)
		if err != nil {
			return started{}, err
		}
		if why == "" && s.opts.cold() {
			return started{left: in.Image.Run[1:]}, nil
		}
		if why == "" {
			return started{in.Image.Run[1:], step.key}, nil
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

// install makes the tree after the install: from the cache, or by running it. why is
// set if it made a file that the source has too.
func (s staging) install(ctx context.Context, in Inputs, step install) (why string, err error) {
	kept, err := installsOf(in, s.opts)
	if err != nil {
		return "", err
	}
	found, err := kept.restore(ctx, step.key, s.tree())
	if err != nil {
		return "", fmt.Errorf("restore the install: %w", err)
	}
	if found {
		s.opts.report(release.MarkDone, asBefore, strings.Join(step.args, " "))
	} else {
		if err := step.reads.export(ctx, s.tree()); err != nil {
			return "", fmt.Errorf("export what the install reads: %w", err)
		}
		if err := s.run(ctx, in, step.args); err != nil {
			return "", err
		}
		if err := kept.keep(ctx, step.key, s.tree()); err != nil {
			return "", fmt.Errorf("keep the install: %w", err)
		}
	}
	return step.addSource(ctx, s.tree())
}
