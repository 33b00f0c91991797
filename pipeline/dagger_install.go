package pipeline

import (
	"context"
	"fmt"
	"strings"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/release"
)

// place is where a build of one platform goes.
type place struct {
	platform dagger.Platform
	out      string                  // folder that the tree is put into
	built    func(*dagger.Container) // is called as soon as the commands have run
}

// fromInstall is a build whose first command is an install: what it made is kept on this
// machine, so that a change of the source takes out of the engine only what the commands
// after it change. It is not done if there is no such install, or nothing may be kept of
// it; why is set if it made a file that the source has too.
func (r daggerRun) fromInstall(ctx context.Context, before *dagger.Container, to place) (done bool, why string, err error) {
	kept, err := installsOf(r.in, r.opts)
	if err != nil || r.step == nil || (kept.dir == "" && len(r.in.Image.Run) > 1) {
		return false, "", err
	}
	kept.link = len(r.in.Image.Functions) == 0 && r.in.Image.Prove.Start == 0 // commands run in the engine
	if len(r.in.Image.Run) == 1 {
		why, err = r.onlyInstall(ctx, before, to, kept)
		return true, why, err
	}
	if err := r.prepare(ctx, before); err != nil {
		return false, "", err
	}
	installed, key, err := r.identified(ctx, before, to.platform)
	if err != nil {
		return false, "", err
	}
	one := keptInstall{kept, key}
	found, err := r.restore(ctx, one, to.out)
	if err != nil {
		return false, "", err
	}
	if !found {
		if err := r.takeInstall(ctx, before, installed, to.out, one); err != nil {
			return false, "", err
		}
	}
	if why, err = r.step.addSource(ctx, to.out); err != nil || why != "" {
		return false, why, err
	}
	given := installed.WithDirectory(r.tree(), r.rest)
	after := given
	for _, args := range r.in.Image.Run[1:] {
		if after, err = r.run(ctx, after, args, to.platform); err != nil {
			return false, "", err
		}
	}
	to.built(after)
	return true, "", r.takeChanges(ctx, given, after, to.out)
}

// onlyInstall is a build whose only command is an install. If it is kept, nothing in the
// engine runs but tests.
func (r daggerRun) onlyInstall(ctx context.Context, before *dagger.Container, to place, kept installCache) (why string, err error) {
	one := keptInstall{kept, "dagger-" + fileName(to.platform) + "-" + r.step.key}
	found, err := r.restore(ctx, one, to.out)
	if err != nil {
		return "", err
	}
	after := before.WithExec(r.opts.around.shell(r.step.args)) // which runs only if there are tests
	if found {
		r.opts.report(release.MarkDone, asBefore, strings.Join(r.step.args, " "))
	} else {
		if err := r.prepare(ctx, before); err != nil {
			return "", err
		}
		if after, err = r.run(ctx, before, r.step.args, to.platform); err != nil {
			return "", err
		}
		if err := r.takeInstall(ctx, before, after, to.out, one); err != nil {
			return "", err
		}
	}
	if why, err = r.step.addSource(ctx, to.out); err != nil || why != "" {
		return why, err
	}
	to.built(after.WithDirectory(r.tree(), r.rest))
	return "", nil
}

// identified runs the install, and gives what the engine has of it a key by which it is
// found again on this machine: an engine that has forgotten an install runs it once more,
// and may get other bytes.
func (r daggerRun) identified(ctx context.Context, before *dagger.Container, p dagger.Platform) (*dagger.Container, string, error) {
	installed, err := r.await(ctx, before.WithExec(r.noted(r.opts.around.shell(r.step.args))), r.step.args, p)
	if err != nil {
		return nil, "", err
	}
	id, err := installed.File(r.marker()).Contents(ctx)
	if err != nil {
		return nil, "", r.explain(ctx, err)
	}
	return installed, "dagger-" + fileName(p) + "-" + strings.TrimSpace(id), nil
}

// noted is the command line that runs another and leaves a new key in the marker.
func (r daggerRun) noted(line []string) []string {
	script := `read -r id < /proc/sys/kernel/random/uuid && echo "$id" > ` + r.marker() + ` && exec "$@"`
	return append([]string{"/bin/sh", "-c", script, "sh"}, line...)
}

// keptInstall is where one install is kept.
type keptInstall struct {
	installCache
	key string
}

// restore puts an install that is kept into the folder out, which is made.
func (r daggerRun) restore(ctx context.Context, kept keptInstall, out string) (bool, error) {
	if err := mkdir(out); err != nil {
		return false, err
	}
	found, err := kept.installCache.restore(ctx, kept.key, out)
	if err != nil {
		return false, fmt.Errorf("restore the install: %w", err)
	}
	return found, nil
}

// takeInstall takes an install out of the engine and keeps it.
func (r daggerRun) takeInstall(ctx context.Context, before, installed *dagger.Container, out string, kept keptInstall) error {
	if err := r.take(ctx, before, installed, out); err != nil {
		return err
	}
	if err := kept.keep(ctx, kept.key, out); err != nil {
		return fmt.Errorf("keep the install: %w", err)
	}
	return nil
}

// fileName is a platform as part of a file's name.
func fileName(p dagger.Platform) string { return strings.ReplaceAll(string(p), "/", "-") }
