package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
)

// machineGround is a machine with a service manager, and a registry: apps without
// a cluster.
func machineGround(t *testing.T) ground {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine; -short leaves it out")
	}
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	program := filepath.Join(t.TempDir(), "serve")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../deploy/host/testdata/serve").CombinedOutput()
	require.NoError(t, err, string(out))
	h, err := devhost.Up(t.Context(), devhost.Options{Files: map[string]string{"/usr/local/bin/serve": program}, Progress: progressOf(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Down()) })
	addr, shut, err := cluster.Registry(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(shut)
	return ground{registry: addr, host: h}
}

const hostShopConfig = `app: NAME
source: https://github.com/busrig/busrig
builder: embedded
images:
  gateway:
    repository: ${REGISTRY}/NAME/gateway
    package: packages/gateway
    base: scratch
    entrypoint: [/usr/local/bin/serve]
roles:
  gateway:
    image: gateway
    host: {manager: systemd, service: NAME, address: HOST, key: KEY, knownHosts: KNOWN, root: /srv/NAME, stopTimeout: 2s}
    env: {PORT: "PORTNUMBER"}
    port: PORTNUMBER
    stable: 100ms
timeout: 30s
`

// hostShop is an app of one service on the machine, with its ledger there. The
// number makes its port.
func (g ground) hostShop(t *testing.T, name string, number int) *shop {
	t.Helper()
	home := t.TempDir()
	s := &shop{t: t, g: g, sha: map[string]string{}}
	address, known := g.host.Address, g.host.KnownHosts
	if g.ssh != nil {
		address, known = g.ssh.Address, g.ssh.KnownHosts
	}
	fill := strings.NewReplacer("NAME", name, "PORTNUMBER", fmt.Sprint(5000+number), "HOST", address, "KEY", g.host.Key, "KNOWN", known)
	s.repo = sample.New(t, sample.Options{Dir: filepath.Join(home, "repo"), Registry: g.registry, Config: fill.Replace(hostShopConfig)})
	s.sha["v1"] = s.repo.Commit("v1", map[string]string{"packages/gateway/version": "v1"})
	s.sha["v2"] = s.repo.Commit("v2", map[string]string{"packages/gateway/version": "v2"})
	s.sha["broken"] = s.repo.Commit("broken", map[string]string{"packages/gateway/mode": "crash"})
	s.env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, ".cache"))
	return s
}

// TestAKilledRunNeedsNoRepairOnHosts is TestAKilledRunNeedsNoRepair for an app
// whose roles and ledger are on a machine. SHIPIT_SOAK tries every write.
func TestAKilledRunNeedsNoRepairOnHosts(t *testing.T) {
	besides(t)
	g := machineGround(t)
	var all atomic.Int32
	soak := soaking(t, func() int { return int(all.Load()) })
	for i, sc := range append(scenarios(), scenario{"adopting", nil, []string{"release", "broken"}, exitRestored, []string{"release", "v1"}, true}) {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			all.Add(int32(g.killedOnHost(t, sc, soak, 100*i)))
		})
	}
}

// killedOnHost is killed for apps on a machine; first numbers them.
func (g ground) killedOnHost(t *testing.T, sc scenario, soak soak, first int) int {
	whole := g.hostShop(t, "kill-"+sc.name, first)
	if sc.found {
		whole.byHand(first)
	}
	for _, rev := range sc.before {
		whole.does(0, "release", whole.sha[rev])
	}
	writes := whole.writes(sc.code, whole.named(sc.args)...)
	t.Logf("%d writes: %s", len(writes), strings.Join(writes, ", "))
	cases := accidents(syscall.SIGKILL, hostWrites(writes), "before", "after")
	for _, n := range soak.order(len(cases)) {
		a := cases[n]
		if !soak.whole && n%(len(cases)/2) != len(cases)/3 {
			continue
		}
		t.Run(fmt.Sprintf("%s %s %d", a.when, a.write, a.number), func(t *testing.T) {
			soak.begin(t)
			s := g.hostShop(t, fmt.Sprintf("kill-%s-%d", sc.name, n), first+n+1)
			if !sc.found {
				s.survivesOnHost(sc, a)
				return
			}
			unit := s.byHand(first + n + 1)
			s.survivesOnHost(sc, a)
			s.does(0, "rollback", "--to", "0")
			s.does(0, "status")
			now, err := g.host.Exec(t.Context(), "sh", "-c", `cat /etc/systemd/system/"$1".service; systemctl is-active "$1"; systemctl is-enabled "$1"`, "sh", s.service())
			require.NoError(t, err)
			require.Equal(t, unit+"active\nenabled\n", now)
		})
	}
	return len(cases)
}

// byHand starts the service of a host shop from a unit that was made by hand.
func (s *shop) byHand(number int) (unit string) {
	s.t.Helper()
	unit = fmt.Sprintf("[Service]\nExecStart=/usr/local/bin/serve\nWorkingDirectory=/srv\nEnvironment=PORT=%d\n[Install]\nWantedBy=multi-user.target\n", 5000+number)
	file := "/etc/systemd/system/" + s.service() + ".service"
	require.NoError(s.t, s.g.host.Write(s.t.Context(), file, unit, 0o644))
	_, err := s.g.host.Exec(s.t.Context(), "systemctl", "enable", "--quiet", "--now", s.service())
	require.NoError(s.t, err)
	return unit
}

// hostWrites are those to the machine; those to the registry have other tests.
func hostWrites(writes []string) []string {
	var out []string
	for _, w := range writes {
		if strings.HasPrefix(w, "host ") {
			out = append(out, w)
		}
	}
	return out
}

// survivesOnHost is survives; in addition it looks at the machine as the accident
// left it: what status says, and what would start with the machine.
func (s *shop) survivesOnHost(sc scenario, a accident) {
	for _, rev := range sc.before {
		s.does(0, "release", s.sha[rev])
	}
	cmd, said := s.command([]string{envAccident + "=" + a.String()}, s.named(sc.args)...)
	err := cmd.Run()
	var exit *exec.ExitError
	require.True(s.t, errors.As(err, &exit) && exit.ExitCode() == -1, "no such write: %v %s", err, said)
	if !sc.found {
		s.startsWhole(len(sc.before) > 0)
	}
	if len(sc.before) > 0 {
		s.tellsTheTruth()
	}
	s.does(0, s.named(sc.next)...)
	s.does(0, "status")
	s.does(0, "verify")
	newest := s.newest()
	require.True(s.t, newest.Good(), newest.Outcome)
	want := s.named(sc.next)
	require.Equal(s.t, want[len(want)-1], newest.SHA)
	s.startsWhole(true)
}

// startsWhole demands that the service starts with the machine, from a release
// directory that is whole. wanted says that there must be one.
func (s *shop) startsWhole(wanted bool) {
	s.t.Helper()
	out, err := s.g.host.Exec(s.t.Context(), "sh", "-c", `unit=/etc/systemd/system/$1.service
[ -e "$unit" ] || { echo none; exit 0; }
[ "$(systemctl is-enabled "$1")" = enabled ] || { echo disabled; exit 0; }
dir=$(sed -n 's/^WorkingDirectory=//p' "$unit")
[ -d "$dir" ] && [ -f "$(echo "$dir" | cut -d/ -f1-5)/.shipit/manifest" ] || { echo "no $dir"; exit 0; }
echo whole`, "sh", s.service())
	require.NoError(s.t, err)
	if wanted {
		require.Equal(s.t, "whole", strings.TrimSpace(out))
	} else {
		require.Contains(s.t, []string{"whole", "none", "disabled"}, strings.TrimSpace(out), "a first release may not have begun")
	}
}

// service is that of a host shop, named for its app.
func (s *shop) service() string {
	line, _, _ := strings.Cut(s.repo.Read("shipit.yaml"), "\n")
	return strings.TrimPrefix(line, "app: ")
}

// tellsTheTruth demands of status that it says parity only where the newest good
// release serves.
func (s *shop) tellsTheTruth() {
	s.t.Helper()
	cmd, said := s.command(nil, "status", "-o", "json")
	out, err := cmd.Output()
	var seen struct {
		SHA    string
		Parity bool
		Roles  []struct{ Ready int }
	}
	require.NoError(s.t, json.Unmarshal(out, &seen), "%v %s", err, said)
	up, _ := s.g.host.Exec(s.t.Context(), "systemctl", "is-active", s.service())
	if seen.Parity {
		require.NoError(s.t, err)
		require.Equal(s.t, "active", strings.TrimSpace(up))
		return
	}
	require.Error(s.t, err, "%s", out)
}

// TestAStoppedRunChangesNothingOnHostsAfterATakeover is
// TestAStoppedRunChangesNothingAfterATakeover for an app on a machine. What is
// sent after the lock was asked for is the business of the host target's tests.
func TestAStoppedRunChangesNothingOnHostsAfterATakeover(t *testing.T) {
	besides(t)
	g := machineGround(t)
	all := g.hostShop(t, "stop-all", 900)
	all.does(0, "release", all.sha["v1"])
	writes := hostWrites(all.writes(0, "release", all.sha["v2"]))
	tried := 0
	soak := soaking(t, func() int { return tried })
	for i, a := range accidents(syscall.SIGSTOP, writes, "before") {
		if a.write == "host ledger lock.json" || !soak.whole && a.write != "host seal" && a.write != "host stop" {
			continue
		}
		tried++
		t.Run(fmt.Sprintf("%s %d", a.write, a.number), func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			g.hostShop(t, fmt.Sprintf("stop-%d", i), 901+i).staysTakenOver(a)
		})
	}
	require.Positive(t, tried, "%q", writes)
}
