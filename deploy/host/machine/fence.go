package machine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"

	"github.com/joelhooks/shipit/release"
)

// Write is a change of the machine: its name, and the root whose fence guards it; "" for
// one that needs no fence.
type Write struct{ Name, Root string }

// exitFenced says that a later run has been at the machine.
const exitFenced = 69

// FencedScript defines fenced, which ends with exitFenced if a later run has
// written behind the fence. A script of Change that reads its input asks fenced
// once more when it has all of it, since the input may have come late. $FENCE is FOLDER/LEDGER.NUMBER; empty: there is no
// fence. Each number is a file of its own, so that no two runs that raise it at
// once can lower it. A disk that is full raises no fence and stops no way back.
const FencedScript = `fenced() (
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

// behindFence runs the words $2, $3, … behind the fence $1.
const behindFence = FencedScript + `FENCE=$1
export FENCE
shift
fenced || exit
exec "$@"`

// behind is the command as it runs behind a fence.
func (c Command) behind(fence string) Command {
	c.Argv = append([]string{"sh", "-c", behindFence, "sh", fence}, c.Argv...)
	return c
}

// Change runs one command that changes something, as Read does. The guards of ctx
// are asked before; after that, the machine itself refuses it if a run with a later
// lock has been there: a *fencedError.
func (m *Machine) Change(ctx context.Context, w Write, cmd Command) (Result, error) {
	name := release.Write("host " + w.Name)
	fence, fenced := release.FenceOf(ctx)
	fenced = fenced && w.Root != ""
	return m.exec(ctx, cmd, func(ctx context.Context, cmd Command) (Result, error) {
		done, err := release.BeforeWrite(ctx, name)
		if err != nil {
			return Result{}, err
		}
		defer done()
		if !fenced {
			return m.limited(ctx, cmd, changeLimit)
		}
		ledger := sha256.Sum256([]byte(fence.Ledger))
		at := path.Join(w.Root, "fences", fmt.Sprintf("%x.%d", ledger[:4], fence.Number))
		res, err := m.limited(ctx, cmd.behind(at), changeLimit)
		if err == nil && res.Exit == exitFenced {
			return res, &fencedError{Machine: m.Name, Write: w.Name, Fence: at}
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
	return "if the ledger was lost and begun again: rm " + path.Dir(e.Fence) + "/* on " + e.Machine
}
