package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"

	"github.com/joelhooks/shipit/release"
)

// write is a change of the machine: its name, and the root whose fence it stands
// behind; "" for one that needs none.
type write struct{ name, root string }

func (d definition) write(name string) write { return write{name, d.Root} }

// exitFenced says that a later run has been at the machine.
const exitFenced = 69

// fencedScript defines fenced, which ends with exitFenced if a later run has
// written behind the fence. $FENCE is FOLDER/LEDGER.NUMBER; empty: there is no
// fence. Each number is a file of its own, so that no two runs that raise it at
// once can lower it. A disk that is full raises no fence and stops no way back.
const fencedScript = `fenced() (
  [ -n "${FENCE:-}" ] || exit 0
  mine=${FENCE##*.} all=${FENCE%.*}
  passed() {
    for other in "$all".*; do
      n=${other##*.}
      case "$n" in '' | *[!0-9]*) continue ;; esac
      if [ "$n" -gt "$mine" ]; then exit 69; fi
      if [ "$n" -lt "$mine" ]; then rm -f "$other"; fi
    done
  }
  passed
  if [ ! -e "$FENCE" ]; then
    { mkdir -p "${FENCE%/*}" && : >"$FENCE"; } 2>/dev/null || exit 0
    passed
  fi
)
`

// behindFence runs the words $2, $3, … behind the fence $1. A script that reads its
// input asks once more when it has all of it: it may have come late.
const behindFence = fencedScript + `FENCE=$1
export FENCE
shift
fenced || exit
exec "$@"`

// behind is the command as it runs behind a fence.
func (c command) behind(fence string) command {
	c.Argv = append([]string{"sh", "-c", behindFence, "sh", fence}, c.Argv...)
	return c
}

// change runs one command that changes something, as read does. The guards of ctx
// are asked before; after that, the machine itself refuses it if a run with a later
// lock has been there: a *fencedError.
func (m *machine) change(ctx context.Context, w write, cmd command) (result, error) {
	name := release.Write("host " + w.name)
	fence, fenced := release.FenceOf(ctx)
	fenced = fenced && w.root != ""
	return m.exec(ctx, cmd, func(ctx context.Context, cmd command) (result, error) {
		done, err := release.BeforeWrite(ctx, name)
		if err != nil {
			return result{}, err
		}
		defer done()
		if !fenced {
			return m.via.run(ctx, cmd)
		}
		ledger := sha256.Sum256([]byte(fence.Ledger))
		at := path.Join(w.root, "fences", fmt.Sprintf("%x.%d", ledger[:4], fence.Number))
		res, err := m.via.run(ctx, cmd.behind(at))
		if err == nil && res.Exit == exitFenced {
			return res, &fencedError{Machine: m.name, Write: w.name, Fence: at}
		}
		return res, err
	})
}

// fencedError says that a run with a later lock has been at the machine: this
// one's lock is not its own any more.
type fencedError struct {
	Machine, Write string
	Fence          string
}

func (e *fencedError) Error() string {
	return fmt.Sprintf("%s on %s: a later run has taken over, nothing was changed", e.Write, e.Machine)
}

// Hint says what to do if there is no such run.
func (e *fencedError) Hint() string {
	return "if the ledger was lost and made anew: rm " + path.Dir(e.Fence) + "/* on " + e.Machine
}
