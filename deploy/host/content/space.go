package content

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// Space is what a release would find at the root of a store.
type Space struct {
	Unpacked   bool   // the release directory is there: it takes no space
	Unwritable string // the folder that may not be written to; empty if there is none
	FileSystem FileSystem
	Mounts     []string // mount points in folders that a release would replace or remove
}

// FileSystem is the file system that holds a path. The zero value is one that is not known.
type FileSystem struct {
	Device, Mount string
	FreeKiB       int64
}

// spaceScript inspects the root $1, the release directory $2 and the staging
// directory $3.
const spaceScript = mountScript + `p=$1
while [ ! -e "$p" ]; do p=$(dirname "$p"); done
[ -d "$p" ] && [ -w "$p" ] && [ -x "$p" ] || printf '%s\n' "Unwritable=$p"
if [ -f "$2/` + Manifest + `" ]; then echo Unpacked=yes; fi
printf '%s\n' "FileSystem=$(df -Pk "$p" | tail -n 1)"
mounts "$2" | sed 's/^/Mount=/'
staging=$(cd "$3" 2>/dev/null && pwd -P)
mounts "$3" | STAGING=$staging awk '$0 != ENVIRON["STAGING"] { print "Mount=" $0 }'
exit 0`

// Space reads what a release of the image with the digest would find.
func (s Store) Space(ctx context.Context, digest string) (Space, error) {
	res, err := s.Machine.Read(ctx, machine.Script(spaceScript, s.Root, s.dir(digest), s.staging()))
	if err != nil {
		return Space{}, fmt.Errorf("inspect %s on %s: %w", s.Root, s.Machine.Name, err)
	}
	return parseSpace(res.Stdout), nil
}

func parseSpace(out string) Space {
	var found Space
	for _, line := range machine.Lines(out) {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "Unwritable":
			found.Unwritable = value
		case "Unpacked":
			found.Unpacked = true
		case "FileSystem":
			found.FileSystem = parseFileSystem(value)
		case "Mount":
			found.Mounts = append(found.Mounts, value)
		}
	}
	return found
}

// fileSystem is the file system of the root; what cannot be learnt stays empty.
func (s Store) fileSystem(ctx context.Context) FileSystem {
	found, err := s.Space(ctx, "")
	if err != nil {
		return FileSystem{}
	}
	return found.FileSystem
}

// parseFileSystem reads df -Pk: the last line is device, blocks, used, free, percent
// and mount point, which alone may hold spaces.
func parseFileSystem(out string) FileSystem {
	all := machine.Lines(out)
	if len(all) == 0 {
		return FileSystem{}
	}
	fields := strings.Fields(all[len(all)-1])
	if len(fields) < 6 {
		return FileSystem{}
	}
	free, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return FileSystem{}
	}
	return FileSystem{Device: fields[0], Mount: strings.Join(fields[5:], " "), FreeKiB: free}
}
