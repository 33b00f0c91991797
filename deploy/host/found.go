package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// Adopt reads the service of a role as another hand has made it: its file, what it
// starts, whether it runs and starts with the machine. One that shipit has installed is
// none.
func (t *Target) Adopt(ctx context.Context, step deploy.Step) (deploy.Adoption, error) {
	r, _, err := t.runner(ctx, step.Role)
	if err != nil {
		return deploy.Adoption{}, err
	}
	d, err := service.Define(step.Role)
	if err != nil {
		return deploy.Adoption{}, err
	}
	s, err := r.inspect(ctx, d)
	if err != nil {
		return deploy.Adoption{}, err
	}
	file, err := r.unitText(ctx, d)
	if err != nil || s.Installed || file == nil && s.Phase == service.PhaseAbsent {
		return deploy.Adoption{}, err
	}
	d = d.AsFound(file, s)
	raw, err := json.Marshal(d)
	if err != nil {
		return deploy.Adoption{}, err
	}
	role := step.Role
	role.Digest, role.Key, role.Files, role.Aliases, role.Objects = "", "", "", nil, []json.RawMessage{raw}
	out := deploy.Adoption{Found: true, Role: role, Live: r.liveFound(d, s)}
	if file != nil && service.FileHash([]byte(d.Content)) != d.Found.Hash {
		out.Left = append(out.Left, "what looks like a secret in "+d.File+", which is kept on "+r.Name+" alone")
	}
	if d.Found.Folder != "" {
		out.Left = append(out.Left, "the content of "+d.Found.Folder)
	}
	return out, nil
}

// exitNoUnit is how unitTextScript says that there is no such file.
const exitNoUnit = 64

const unitTextScript = `[ -e "$1" ] || exit 64
exec cat "$1"`

// unitText is the file of the service; nil if there is none where a release puts it.
func (r runner) unitText(ctx context.Context, d service.Definition) ([]byte, error) {
	cmd := machine.Script(unitTextScript, d.UnitFile(r.Home))
	cmd.AllowExitCodes = []int{exitNoUnit}
	res, err := r.Read(ctx, cmd)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s on %s: %w", d.UnitFile(r.Home), r.Name, err)
	case res.Exit == exitNoUnit:
		return nil, nil
	}
	return []byte(res.Stdout), nil
}

// liveFound is the state of a service that ran before the first release.
func (r runner) liveFound(d service.Definition, s service.State) release.Live {
	live := release.Live{At: time.Now().UTC(), Folder: s.Cwd}
	live.Since = began(s, live.At)
	if d.Found.Up {
		live.Desired = 1
	}
	if s.Phase == service.PhaseRunning && s.Cwd != "" {
		live.Digests = []string{"path:" + s.Cwd}
	}
	if d.Found.Up && s.Runs(d) && (d.Port == 0 || s.Serves()) {
		live.Ready = 1
	}
	return live
}

// observeFound is observe of a service that ran before the first release.
func (r runner) observeFound(ctx context.Context, d service.Definition, bans []service.Ban) (observation, error) {
	s, err := r.inspect(ctx, d)
	if err != nil {
		return observation{}, err
	}
	file, err := r.unitText(ctx, d)
	if err != nil {
		return observation{}, err
	}
	hash := service.FileHash(file)
	seen := observation{Live: r.liveFound(d, s), installed: s.Installed, pending: !s.IsAsFound(d, hash)}
	seen.Note = join(s.FoundNotes(d, hash))
	origin, err := r.origin(ctx, d, service.OriginOf(d, file, s), bans)
	if err != nil {
		return seen, err
	}
	seen.Info = join(origin)
	if !d.Found.Up {
		return seen, nil
	}
	return r.steadiness(ctx, d, s, seen)
}

// foundScript puts the file $1 back as it was, if it is not: its SHA-256 is $6, empty if
// there was none. What it is taken from is the copy $2.before that the first release has
// made, or stdin, whose size is $7. $3 is the marker, $4 the link, $5 the activation file.
const foundScript = machine.FencedScript + `set -e
unit=$1 copy=$2 marker=$3 link=$4 activated=$5 want=$6 size=$7
sum() { { sha256sum "$1" 2>/dev/null || shasum -a 256 "$1"; } | cut -c 1-64; }
mkdir -p "${unit%/*}"
temp=$unit.shipit-new
trap 'rm -f "$temp"' EXIT
cat >"$temp"
fenced || exit
[ "$(wc -c <"$temp")" -eq "$size" ] || { echo "the unit ended early" >&2; exit 1; }
if [ -z "$want" ]; then
  rm -f "$unit"
elif [ ! -e "$unit" ] || [ "$(sum "$unit")" != "$want" ]; then
  chmod 0644 "$temp"
  if [ -e "$copy.before" ] && [ "$(sum "$copy.before")" = "$want" ]; then cp -p "$copy.before" "$temp"; fi
  [ "$(sum "$temp")" = "$want" ] || exit 65
  mv -f "$temp" "$unit"
fi
rm -f "$copy" "$copy.previous" "$marker" "$activated"
[ -z "$link" ] || rm -f "$link"`

// exitNotKept is how foundScript says that the file as it was is nowhere.
const exitNotKept = 65

// putBackFound brings the service back as it was before the first release: its file,
// whether it starts with the machine, and, if it ran, its process. Every step can be
// repeated.
func (r runner) putBackFound(ctx context.Context, d service.Definition) (release.Live, error) {
	began := time.Now()
	s, err := attributed(ctx, func() (service.State, error) { return r.inspect(ctx, d) })
	if err != nil {
		return release.Live{}, err
	}
	file, err := r.unitText(ctx, d)
	if err != nil {
		return release.Live{}, err
	}
	if s.IsAsFound(d, service.FileHash(file)) {
		if d.Found.Enabled && !s.Enabled {
			_, err = r.Change(ctx, write(d, "enable"), r.manager(d).Enable(d))
		}
		r.report(d, release.PhaseWait, release.MarkDone, d.Service+" is as it was; nothing is restarted", time.Since(began))
		return r.liveFound(d, s), err
	}
	r.report(d, release.PhaseApply, release.MarkStart, "put "+d.Service+" on "+r.Name+" back as it was", 0)
	if s, err = r.replaceByFound(ctx, d); err != nil {
		return r.liveFound(d, s), fmt.Errorf("put back %s: %w", d.Service, err)
	}
	r.report(d, release.PhaseWait, release.MarkDone, fmt.Sprintf("%s is as it was: %s", d.Service, s.Phase), time.Since(began))
	return r.liveFound(d, s), nil
}

func (r runner) replaceByFound(ctx context.Context, d service.Definition) (service.State, error) {
	manager := r.manager(d)
	s, err := r.stop(ctx, d)
	if err != nil {
		return s, err
	}
	if s.Enabled && !d.Found.Enabled {
		if err := r.Each(ctx, write(d, "disable"), manager.Disable(d)); err != nil {
			return s, err
		}
	}
	content := d.Content
	if service.FileHash([]byte(content)) != d.Found.Hash {
		content = "" // a secret was taken out of it
	}
	cmd := machine.Script(foundScript, d.UnitFile(r.Home), d.UnitCopy(), d.Marker(), d.Link(), d.ActivationFile(),
		strings.TrimPrefix(d.Found.Hash, "sha256:"), strconv.Itoa(len(content)))
	if _, err := r.Change(ctx, write(d, "install"), cmd.With(strings.NewReader(content))); err != nil {
		return s, notKept(d, r.Name, err)
	}
	if err := r.Each(ctx, write(d, "reload"), manager.Reload(d)); err != nil {
		return s, err
	}
	if d.Found.Enabled {
		if _, err := r.Change(ctx, write(d, "enable"), manager.Enable(d)); err != nil {
			return s, err
		}
	}
	if !d.Found.Up {
		return r.inspect(ctx, d)
	}
	if err := r.start(ctx, d, service.State{Enabled: true}); err != nil {
		return s, err
	}
	return r.await(ctx, d)
}

// notKept is the failure that the file of the service as it was is nowhere, or err.
func notKept(d service.Definition, machineName string, err error) error {
	var exit *machine.ExitError
	if !errors.As(err, &exit) || exit.Exit != exitNotKept {
		return err
	}
	return &release.Failure{
		Role: d.Role, Code: release.CodeNotPrepared, Object: d.Object(),
		Message: fmt.Sprintf("%s as it was before the first release is not on %s any more, and its record leaves out what looks like a secret", d.File, machineName),
		Hint:    "write it by hand: `shipit history 0 -o json` tells its hash, and what it started",
	}
}
