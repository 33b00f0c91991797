package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fullDisk is too little space: left on a machine's disk, or in all on that of the
// folder in which shipit works.
type fullDisk struct {
	machine   bool
	kilobytes int
	always    bool // tried without SHIPIT_SOAK too
}

// diskTable has, for the machine, no space for the lock, for the content, and for
// what is written after it.
func diskTable() (all []fullDisk) {
	for _, n := range []int{0, 4, 16, 64, 512, 1036, 1060, 1076, 1084, 1092, 1100, 1536} {
		all = append(all, fullDisk{true, n, n == 0 || n == 512 || n == 1084})
	}
	for _, n := range []int{4, 64, 512, 3072} {
		all = append(all, fullDisk{false, n, n == 64})
	}
	return all
}

// TestAFullDisk has too little space on a machine's disk, on which its content and
// its ledger are, or on that of the folder that shipit works in. What is begun
// there ends with the cause and a true record, what ran before runs on, and once
// there is space again nothing need be repaired. SHIPIT_SOAK tries the whole table.
func TestAFullDisk(t *testing.T) {
	besides(t)
	g := machineGround(t)
	table := diskTable()
	soak := soaking(t, func() int { return len(table) })
	for _, i := range soak.order(len(table)) {
		f := table[i]
		if !f.always && !soak.whole {
			continue
		}
		t.Run(fmt.Sprintf("%d KiB, machine %t", f.kilobytes, f.machine), func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			s := g.diskShop(t, 1400+i)
			if f.machine {
				s.fillsMachine(f.kilobytes)
			} else {
				s.worksOn(f.kilobytes)
			}
		})
	}
}

// diskShop is an app whose folder on the machine is a disk of its own, of 80 MiB. Its
// second commit brings a megabyte that does not compress.
func (g ground) diskShop(t *testing.T, number int) *shop {
	t.Helper()
	s := g.hostShop(t, fmt.Sprintf("disk-%d", number), number)
	ballast := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{byte(number)})
	_, _ = random.Read(ballast)
	s.sha["v2"] = s.repo.Commit("v2 with ballast", map[string]string{"packages/gateway/mode": "serve", "packages/gateway/ballast": string(ballast)})
	s.onHost("mkdir -p /srv/$1 && mount -t tmpfs -o size=80m tmpfs /srv/$1")
	t.Cleanup(func() { _, _ = g.host.Exec(context.WithoutCancel(t.Context()), "umount", "-l", "/srv/"+s.service()) })
	s.does(0, "release", s.sha["v1"])
	return s
}

// onHost runs a script on the machine; $1 is the app's name.
func (s *shop) onHost(script string, args ...string) {
	s.t.Helper()
	out, err := s.g.host.Exec(s.t.Context(), append([]string{"sh", "-c", script, "sh", s.service()}, args...)...)
	require.NoError(s.t, err, out)
}

// fillsMachine releases while only so much is left on the machine's disk.
func (s *shop) fillsMachine(kilobytes int) {
	s.onHost(`cd /srv/$1 && dd if=/dev/zero of=filler bs=1k count=$(($(df -k --output=avail . | tail -1) - $2)) 2>/dev/null`, fmt.Sprint(kilobytes))
	a := ailing{shop: s}
	require.Contains(s.t, a.refuses("release", s.sha["v2"]), "DiskSpace", "it is seen before anything is written")
	before := a.records()
	code, took, said := a.timed("release", "--allow", "DiskSpace", s.sha["v2"])
	s.t.Logf("release with %d KiB left: exit %d after %s: %s", kilobytes, code, took.Round(100*time.Millisecond), lastLine(said))
	require.Less(s.t, took, faultLimit)
	up, _ := s.g.host.Exec(s.t.Context(), "systemctl", "is-active", s.service())
	require.Equal(s.t, "active\n", up, "what ran before runs on, or what was released does\n%s", said)
	if code != exitOK {
		require.Regexp(s.t, "(?i)space", said)
	}
	s.onHost(`rm /srv/$1/filler`)
	a.toldTruly([]string{"release"}, ended{code: code, said: said, failed: 1, before: before})
	s.does(0, "release", s.sha["v2"])
	s.does(0, "status")
	s.does(0, "verify")
	s.startsWhole(true)
}

// worksOn runs commands whose cache and temporary folder are on a small disk.
func (s *shop) worksOn(kilobytes int) {
	small := filepath.Join(s.t.TempDir(), "small")
	require.NoError(s.t, os.Mkdir(small, 0o755))
	run := func(args ...string) (int, string) {
		cmd, said := s.command([]string{"TMPDIR=" + small, "XDG_CACHE_HOME=" + small}, args...)
		// The disk is of this process's own mounts and goes away with it.
		cmd.Args = append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", `mount -t tmpfs -o "size=$1k" tmpfs "$2" && shift 2 && exec "$@"`, "sh", fmt.Sprint(kilobytes), small, cmd.Path}, cmd.Args[1:]...)
		path, err := exec.LookPath("unshare")
		require.NoError(s.t, err)
		cmd.Path = path
		_ = cmd.Run()
		s.t.Logf("%s on %d KiB: exit %d: %s", args[0], kilobytes, cmd.ProcessState.ExitCode(), lastLine(said.String()))
		return cmd.ProcessState.ExitCode(), said.String()
	}
	for _, words := range [][]string{{"plan", "v2"}, {"build", "v2"}, {"release", "v2"}} {
		code, said := run(s.named(words)...)
		require.Contains(s.t, []int{exitOK, exitRefused}, code, said)
		if code == exitRefused {
			require.Contains(s.t, said, "no space left on device")
		}
		s.does(0, "status")
	}
	for _, words := range [][]string{{"status"}, {"history"}} {
		code, said := run(words...)
		require.Zero(s.t, code, said)
	}
	s.does(0, "release", s.sha["v2"])
	code, said := run("rollback")
	require.Zero(s.t, code, said)
	s.does(0, "status")
}
