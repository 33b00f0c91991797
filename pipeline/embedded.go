package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
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
		s, err := openStaging(ctx, opts)
		if err != nil {
			return err
		}
		defer s.close()
		return s.build(ctx, in, func(c content) error { return use(names, c) })
	}
}

// build exports the closure, runs the commands and passes the resulting tree to use.
// The tests run last, when the layers have been written.
func (s staging) build(ctx context.Context, in Inputs, use func(content) error) error {
	runs := len(in.Image.Run) > 0
	c, err := gitContent(ctx, in, !runs)
	if err != nil {
		return err
	}
	if err := c.export(ctx, s.tree()); err != nil {
		return fmt.Errorf("export the closure: %w", err)
	}
	for _, args := range in.Image.Run {
		if err := s.run(ctx, in, args); err != nil {
			return err
		}
	}
	if runs {
		if c, err = readDir(s.tree()); err != nil {
			return fmt.Errorf("read what the commands made: %w", err)
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
	for _, args := range in.Image.Test {
		if err := s.run(ctx, in, args); err != nil {
			return err
		}
	}
	return nil
}
