package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// keep says which release directories stay.
type keep struct {
	root    string   // as in the definition
	digests []string // those that good records name
	newest  int      // and so many of the last that were unpacked
}

// prune removes the release directories below k.root that nothing needs, and
// returns their digests. One that a process works in, or that a current link
// leads to, stays in any case.
func (m *machine) prune(ctx context.Context, k keep) ([]string, error) {
	if !path.IsAbs(k.root) || path.Clean(k.root) == "/" {
		return nil, fmt.Errorf("prune: root %q is no absolute folder", k.root)
	}
	res, err := m.read(ctx, script(listScript, k.root))
	if err != nil {
		return nil, fmt.Errorf("list releases in %s on %s: %w", k.root, m.name, err)
	}
	var removed []string
	var errs []error
	for _, digest := range unneeded(k, res.Stdout) {
		name := strings.TrimPrefix(digest, "sha256:")
		dir := path.Join(k.root, "releases", name)
		unlock := m.unpacks.lock(dir)
		err := m.changeTree(ctx, write{"prune", k.root}, dir, script(pruneScript, k.root, name, m.run))
		unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s on %s: %w", release.ShortDigest(digest), m.name, err))
			continue // one that cannot go keeps no other
		}
		removed = append(removed, digest)
	}
	return removed, errors.Join(errs...)
}

// listScript prints the releases below $1, the newest first, and what is in use:
// the targets of links and the directories of processes.
const listScript = `cd "$1/releases" 2>/dev/null || exit 0
real=$(pwd -P)
ls -1t | sed 's/^/Release=/'
for link in "$1"/current/*; do
  to=$(readlink "$link") && printf '%s\n' "Used=${to##*/}"
done
if [ -d /proc/self ]; then ls -ln /proc/[0-9]*/cwd 2>/dev/null; else lsof -d cwd -Fn 2>/dev/null; fi |
  DIR="$real/" awk '{ dir = ENVIRON["DIR"]; at = index($0, dir); if (at) { rest = substr($0, at + length(dir)); sub(/[\/ ].*/, "", rest); print "Used=" rest } }'
exit 0`

// pruneScript takes the release $2 of root $1 away in one step, and then apart.
const pruneScript = `set -e
` + discardScript + `
dir=$1/releases/$2 aside=$1/staging/$2.$3.old
if [ -L "$dir" ]; then
  rm -f "$dir"
  exit 0
fi
unmounted "$dir"
mkdir -p "$1/staging"
chmod u+w "$dir"
mv "$dir" "$aside"
discard "$aside"`

// unneeded are the digests of a listing that k does not keep and nobody uses,
// the oldest last.
func unneeded(k keep, listing string) []string {
	var all, used []string
	for _, line := range lines(listing) {
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "Release" && isHex64(value):
			all = append(all, "sha256:"+value)
		case key == "Used":
			used = append(used, "sha256:"+value)
		}
	}
	var out []string
	for i, digest := range all {
		if i >= k.newest && !slices.Contains(k.digests, digest) && !slices.Contains(used, digest) {
			out = append(out, digest)
		}
	}
	return out
}

func isExit(err error) bool {
	var exit *exitError
	return errors.As(err, &exit)
}
