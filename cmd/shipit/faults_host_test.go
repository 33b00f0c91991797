package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/faults"
	"github.com/joelhooks/shipit/release"
)

// sshFault is a row of the table of outcomes for a machine.
type sshFault struct {
	rule   faults.CommandRule
	always bool // tried without SHIPIT_SOAK too
}

func (f sshFault) name() string {
	if f.rule.Every > 0 {
		return fmt.Sprintf("ssh-now-and-then-%s", f.rule.Fault)
	}
	return fmt.Sprintf("ssh-%s-after-%d", f.rule.Fault, f.rule.After)
}

// sshTable has every fault from the first command on, from among the readings, and
// from among the writings.
func sshTable() []sshFault {
	var all []sshFault
	for _, f := range []faults.Fault{faults.Silence, faults.Hangup, faults.Lost, faults.Cut, faults.Trickle} {
		for _, after := range []int{0, 12, 24, 36} {
			all = append(all, sshFault{faults.CommandRule{Fault: f, After: after}, f == faults.Lost && after == 12})
		}
	}
	for _, f := range []faults.Fault{faults.Hangup, faults.Lost} {
		all = append(all, sshFault{faults.CommandRule{Fault: f, Every: 9}, f == faults.Lost})
	}
	return all
}

// TestEveryCommandEndsWhateverAMachineDoes is TestEveryCommandEndsWhateverItsServersDo
// for an app whose role and ledger are on a machine, with the faults between shipit
// and its SSH server. SHIPIT_SOAK tries the whole table.
func TestEveryCommandEndsWhateverAMachineDoes(t *testing.T) {
	besides(t)
	g := machineGround(t)
	table := sshTable()
	soak := soaking(t, func() int { return len(table) })
	for _, i := range soak.order(len(table)) {
		f := table[i]
		if !f.always && !soak.whole {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			g := g
			server := faults.NewSSH(t, "root", faults.Machine{Address: g.host.IP, Key: g.host.Key, KnownHosts: g.host.KnownHosts})
			g.ssh = server
			s := g.hostShop(t, fmt.Sprintf("ssh-%d", i), 1300+i)
			s.sha["v3"] = s.repo.Commit("v3", map[string]string{"packages/gateway/mode": "serve", "packages/gateway/version": "v3"})
			s.does(0, "release", s.sha["v1"])
			s.does(0, "release", s.sha["v2"])
			s.enduresOver(server, f)
		})
	}
}

// enduresOver runs every command under a fault, and then a release without one.
func (s *shop) enduresOver(server *faults.SSH, f sshFault) {
	a := ailing{shop: s}
	for _, words := range faultCommands() {
		before := a.records()
		rule := f.rule
		server.Have(&rule)
		code, took, said := a.timed(a.named(words)...)
		failed := server.Faults()
		server.Have(nil)
		s.t.Logf("%s under %s: exit %d after %s, %d commands failed: %s", words[0], f.name(), code, took.Round(100*time.Millisecond), failed, lastLine(said))
		require.Less(s.t, took, faultLimit, "%s\n%s", words, said)
		require.NotContains(s.t, said, "panic:")
		a.toldTruly(words, ended{code: code, said: said, failed: failed, before: before})
	}
	s.does(0, "release", s.sha["v3"])
	s.does(0, "status")
	s.does(0, "verify")
	s.startsWhole(true)
}

// toldTruly holds the end of a command against its records.
func (a ailing) toldTruly(words []string, e ended) {
	after := a.records()
	allowed := []int{exitOK, exitRefused}
	switch begun := len(after) > len(e.before); {
	case e.failed == 0, begun && after[0].Good():
		allowed = []int{exitOK}
	case begun && after[0].Outcome == release.Restored:
		allowed = []int{exitRestored}
	case begun:
		allowed = []int{exitFailed, exitUnexpected, exitInterrupted}
	case words[0] == "status":
		allowed = append(allowed, exitDrift) // of what cannot be read parity is not known
	}
	require.Contains(a.t, allowed, e.code, "%s\n%s", words, e.said)
	if e.code != exitOK && words[0] != "status" {
		require.Contains(a.t, e.said, "shipit: ", "it names a cause")
	}
	if !slices.Contains([]string{"release", "rollback"}, words[0]) {
		require.Len(a.t, after, len(e.before), "%s", strings.Join(words, " "))
	}
	if len(after) > 0 && after[0].Good() {
		a.does(0, "status") // what is called good is good
	}
}

// TestAMachineWhoseNameDoesNotResolve has a machine of a name that is not there: what
// needs it is refused, and what runs there runs on.
func TestAMachineWhoseNameDoesNotResolve(t *testing.T) {
	besides(t)
	g := machineGround(t)
	a := ailing{shop: g.hostShop(t, "lost-name", 1399)}
	a.does(0, "release", a.sha["v1"])
	text := a.repo.Read("shipit.yaml")
	lost := a.repo.Commit("lost", map[string]string{"shipit.yaml": strings.ReplaceAll(text, g.host.Address, "root@nowhere.invalid")})
	for _, words := range [][]string{{"status"}, {"history"}, {"plan", lost}, {"rollback"}, {"release", lost}} {
		require.Contains(t, a.refuses(words...), "nowhere.invalid", "%s", words)
	}
	a.does(0, "build", lost)
	a.repo.Commit("found", map[string]string{"shipit.yaml": text})
	a.does(0, "status")
}
