package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Disk is the disk of a machine, for the ledger of an app without a cluster: with
// its first host, everybody who may release there finds the same records.
// Writers take turns by flock(2), as those on the machine itself do.
type Disk struct {
	connect func(context.Context) (*Machine, error)
}

// NewDisk is the disk of the machine that connect gives.
func NewDisk(connect func(context.Context) (*Machine, error)) *Disk { return &Disk{connect} }

// Name is the machine's name.
func (d Disk) Name() string {
	m, err := d.connect(context.Background())
	if err != nil {
		return "a machine that is away"
	}
	return m.Name
}

const (
	exitOtherContent = 67
	exitNoFlock      = 68
)

// replaceScript writes standard input to the file $2 of the folder $1 if its
// content has the SHA-256 $3, "" meaning that there is none, and that of the
// input is $4: input that was cut off is not written.
const replaceScript = `set -e
sum() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }
mkdir -p "$1"
cd "$1"
exec 9>>.writer
if command -v flock >/dev/null; then flock 9
elif command -v perl >/dev/null; then perl -e 'open(my $f, ">>&=", 9) or exit 1; flock($f, 2) or exit 1'
else exit 68; fi
next=$(mktemp .next-XXXXXX)
trap 'rm -f "$next"' EXIT
cat >"$next"
[ "$(sum <"$next")" = "$4" ] || exit 65
now=
if [ -e "$2" ]; then now=$(sum <"$2"); fi
[ "$now" = "$3" ] || exit 67
chmod 644 "$next"
sync "$next" 2>/dev/null || sync
mv -f "$next" "$2"
sync . 2>/dev/null || sync
`

// Replace writes a file, whole and durably, if its content still is what it was.
func (d Disk) Replace(ctx context.Context, dir, name, was string, content []byte) (bool, error) {
	m, err := d.connect(ctx)
	if err != nil {
		return false, err
	}
	cmd := Script(replaceScript, dir, name, strings.TrimPrefix(was, "sha256:"), fmt.Sprintf("%x", sha256.Sum256(content))).With(bytes.NewReader(content))
	cmd.Limit = readLimit
	_, err = m.Change(ctx, Write{Name: "ledger " + name}, cmd) // it compares and swaps: it needs no fence
	var exit *ExitError
	switch {
	case errors.As(err, &exit) && exit.Exit == exitOtherContent:
		return false, nil
	case errors.As(err, &exit) && exit.Exit == exitNoFlock:
		return false, fmt.Errorf("%s has neither flock nor perl, by which writers of the ledger take turns", m.Name)
	case err != nil:
		return false, fmt.Errorf("write %s on %s: %w", path.Join(dir, name), m.Name, err)
	}
	return true, nil
}

// List names the files of a folder.
func (d Disk) List(ctx context.Context, dir string) ([]string, error) {
	m, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	res, err := m.Read(ctx, Script(`[ -d "$1" ] || exit 0; cd "$1" && for f in *.json; do [ -e "$f" ] && printf '%s\n' "$f"; done; true`, dir))
	if err != nil {
		return nil, fmt.Errorf("list %s on %s: %w", dir, m.Name, err)
	}
	return strings.Fields(res.Stdout), nil
}

// readAtOnce is how many files one command reads: what it prints is limited.
const readAtOnce = 8

// Read reads files of a folder; those that are not there are left out.
func (d Disk) Read(ctx context.Context, dir string, names []string, each func(string, []byte) error) error {
	m, err := d.connect(ctx)
	if err != nil {
		return err
	}
	for len(names) > 0 {
		n := min(len(names), readAtOnce)
		res, err := m.Read(ctx, Script(readScript, append([]string{dir}, names[:n]...)...))
		if err != nil {
			return fmt.Errorf("read %s on %s: %w", dir, m.Name, err)
		}
		if err := eachFile(res.Stdout, each); err != nil {
			return fmt.Errorf("read %s on %s: %w", dir, m.Name, err)
		}
		names = names[n:]
	}
	return nil
}

// readScript prints each file's size and name, a line, and then the file, read at
// once: a file that is replaced meanwhile is read as it was or as it is. What is
// kept there is JSON and holds no NUL; the locale counts bytes.
const readScript = `cd "$1" 2>/dev/null || exit 0
shift
for f; do
  if [ -e "$f" ]; then
    content=$(cat "$f" && echo x) || exit 1
    content=${content%x}
    printf '%s %s\n%s' "${#content}" "$f" "$content"
  fi
done
`

func eachFile(out string, each func(string, []byte) error) error {
	for out != "" {
		head, rest, _ := strings.Cut(out, "\n")
		digits, name, ok := strings.Cut(head, " ")
		size, err := strconv.Atoi(digits)
		if !ok || err != nil || size < 0 || size > len(rest) {
			return errors.New("the answer was cut off")
		}
		if err := each(name, []byte(rest[:size])); err != nil {
			return err
		}
		out = rest[size:]
	}
	return nil
}
