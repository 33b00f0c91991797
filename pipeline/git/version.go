package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Version is the semantic version of the commit, without the "v". A tag vX.Y.Z
// on the commit is its version, the highest if there are several; a pre-release is it only
// where there is no other. Between tags
// it is a pre-release of the patch after the nearest tag behind the commit,
// 1.4.3-dev.7.g4f2a91c for the seventh commit after v1.4.2, and 0.0.0-dev.7.g…
// where there is no tag. It holds no "+", so that it can be an image's tag.
//
// In a shallow clone whose history ends before a tag the count is 0: fetch the
// whole history for versions that can be compared.
func (s Source) Version(ctx context.Context) (string, error) {
	tags, err := s.versionTags(ctx)
	if err != nil {
		return "", fmt.Errorf("read the tags behind %.7s: %w", s.SHA, err)
	}
	if here := tags.on(s.SHA); here != nil {
		return here.String(), nil
	}
	base, count, err := s.nearest(ctx, tags)
	if err != nil {
		return "", fmt.Errorf("find the tag before %.7s: %w", s.SHA, err)
	}
	next := "0.0.0"
	if base != nil {
		next = base.IncPatch().String()
	}
	return fmt.Sprintf("%s-dev.%d.g%.7s", next, count, s.SHA), nil
}

type versionTag struct {
	name, commit string
	version      *semver.Version
}

type versionTags []versionTag

// on is the highest version on that commit, of the releases if there are any; nil if there
// is none.
func (t versionTags) on(commit string) *semver.Version {
	var best *semver.Version
	for _, tag := range t {
		if tag.commit == commit && (best == nil || before(tag.version, best)) {
			best = tag.version
		}
	}
	return best
}

// before reports whether a is preferred to b: a release to a pre-release, else the higher.
func before(a, b *semver.Version) bool {
	if released := a.Prerelease() == ""; released != (b.Prerelease() == "") {
		return released
	}
	return a.GreaterThan(b)
}

// versionTags are the tags vX.Y.Z, pre-releases too, on the commit or behind it.
func (s Source) versionTags(ctx context.Context) (versionTags, error) {
	out, _, err := run(ctx, s.GitDir, "--git-dir="+s.GitDir, "for-each-ref", "--merged="+s.SHA,
		"--format=%(refname:strip=2)%00%(objectname)%00%(*objectname)", "refs/tags/")
	if err != nil {
		return nil, err
	}
	var tags versionTags
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		f := strings.Split(line, "\x00")
		if len(f) != 3 || !strings.HasPrefix(f[0], "v") {
			continue
		}
		v, err := semver.StrictNewVersion(f[0][1:])
		if err != nil || v.Metadata() != "" {
			continue
		}
		commit := f[1]
		if f[2] != "" { // an annotated tag is an object of its own
			commit = f[2]
		}
		tags = append(tags, versionTag{name: f[0], commit: commit, version: v})
	}
	return tags, nil
}

// nearest is the released version with the fewest commits between it and the
// commit, and how many these are. Without one it is nil and the length of the
// history, 0 if that is cut off.
func (s Source) nearest(ctx context.Context, tags versionTags) (*semver.Version, int, error) {
	args := []string{"--git-dir=" + s.GitDir, "describe", "--tags", "--long", "--abbrev=40"}
	released := versionTags{}
	for _, t := range tags {
		if t.version.Prerelease() == "" {
			released = append(released, t)
			args = append(args, "--match="+t.name)
		}
	}
	if len(released) == 0 {
		if s.shallow {
			return nil, 0, nil
		}
		out, _, err := run(ctx, s.GitDir, "--git-dir="+s.GitDir, "rev-list", "--count", s.SHA)
		if err != nil {
			return nil, 0, err
		}
		var n int
		_, err = fmt.Sscan(out, &n)
		return nil, n, err
	}
	out, _, err := run(ctx, s.GitDir, append(args, s.SHA)...)
	if err != nil {
		return nil, 0, err
	}
	return parseDescribe(strings.TrimSpace(out), released)
}

// parseDescribe reads "v1.4.2-7-g<sha>" and takes the highest of the tags that
// share the commit of the one that git chose.
func parseDescribe(out string, released versionTags) (*semver.Version, int, error) {
	cut := strings.LastIndex(out, "-g")
	if cut < 0 {
		return nil, 0, errors.New("git describe said " + out)
	}
	dash := strings.LastIndex(out[:cut], "-")
	if dash < 0 {
		return nil, 0, errors.New("git describe said " + out)
	}
	var n int
	if _, err := fmt.Sscan(out[dash+1:cut], &n); err != nil {
		return nil, 0, fmt.Errorf("git describe said %s: %w", out, err)
	}
	for _, tag := range released {
		if tag.name == out[:dash] {
			return released.on(tag.commit), n, nil
		}
	}
	return nil, 0, errors.New("git describe named " + out[:dash])
}
