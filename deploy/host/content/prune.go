package content

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/release"
)

// Keep says which release directories stay.
type Keep struct {
	Digests []string // those that good records name
	Newest  int      // and so many of the last that were unpacked
}

// Prune removes the release directories that nothing needs, and returns their
// digests. One that a process works in, or that a current link leads to, stays in
// any case.
func (s Store) Prune(ctx context.Context, k Keep) ([]string, error) {
	if !path.IsAbs(s.Root) || path.Clean(s.Root) == "/" {
		return nil, fmt.Errorf("prune: root %q is no absolute folder", s.Root)
	}
	defer s.Machine.Lock(s.Root)() // another role's release directories may be there too
	res, err := s.Machine.Read(ctx, machine.Script(listScript, s.Root))
	if err != nil {
		return nil, fmt.Errorf("list releases in %s on %s: %w", s.Root, s.Machine.Name, err)
	}
	var removed []string
	var errs []error
	for _, digest := range unneeded(k, res.Stdout) {
		dir := s.dir(digest)
		unlock := s.Machine.Lock(dir)
		err := s.changeTree(ctx, "prune", dir, machine.Script(pruneScript, s.Root, path.Base(dir), s.Machine.Run))
		unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s on %s: %w", release.ShortDigest(digest), s.Machine.Name, err))
			continue // the others are removed all the same
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
func unneeded(k Keep, listing string) []string {
	var all, used []string
	for _, line := range machine.Lines(listing) {
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "Release" && IsDigest("sha256:"+value):
			all = append(all, "sha256:"+value)
		case key == "Used":
			used = append(used, "sha256:"+value)
		}
	}
	var out []string
	for i, digest := range all {
		if i >= k.Newest && !slices.Contains(k.Digests, digest) && !slices.Contains(used, digest) {
			out = append(out, digest)
		}
	}
	return out
}
