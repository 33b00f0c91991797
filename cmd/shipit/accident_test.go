package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// The environment by which a test has an accident happen to the command that it
// runs: where its writes are listed, and the signal that it gets at one of them.
const (
	envWrites   = "SHIPIT_TEST_WRITES"   // FILE
	envAccident = "SHIPIT_TEST_ACCIDENT" // an accident's text
)

// accident is a signal that a command gets before or after a write: the one that
// is the number-th of its name, since writes to a registry go side by side.
type accident struct {
	signal syscall.Signal
	when   string // before, after
	write  string
	number int // from 1
}

func (a accident) String() string {
	return fmt.Sprintf("%d:%s:%d:%s", a.signal, a.when, a.number, a.write)
}

// withAccidents is a context under which the command lists its writes, or has an
// accident at one of them.
func withAccidents(ctx context.Context) context.Context {
	list, planned := os.Getenv(envWrites), os.Getenv(envAccident)
	if list == "" && planned == "" {
		return ctx
	}
	signal, _ := strconv.Atoi(strings.SplitN(planned, ":", 2)[0])
	var mu sync.Mutex
	counts := map[string]int{}
	at := func(when string, w release.Write) {
		mu.Lock()
		defer mu.Unlock()
		key := when + string(w)
		counts[key]++
		if list != "" && when == "before" {
			f, err := os.OpenFile(list, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			fmt.Fprintln(f, w)
			_ = f.Close()
		}
		if now := (accident{syscall.Signal(signal), when, string(w), counts[key]}); now.String() == planned {
			_ = syscall.Kill(os.Getpid(), now.signal)
			time.Sleep(time.Second) // the signal arrives in this time, even at a busy machine: nothing goes on before
		}
	}
	return release.WithGuard(ctx, release.Guard{
		Before: func(_ context.Context, w release.Write) error { at("before", w); return nil },
		After:  func(w release.Write) { at("after", w) },
	})
}

// accidents are those that a command can have at its writes, in order. Of a lock it
// is the first write alone: how often a lock is renewed depends on how long a run takes.
func accidents(signal syscall.Signal, writes []string, when ...string) []accident {
	var out []accident
	counts := map[string]int{}
	locked := false
	for _, w := range writes {
		if strings.HasSuffix(w, " leases") || w == "host ledger lock.json" {
			if locked {
				continue
			}
			locked = true
		}
		counts[w]++
		for _, at := range when {
			out = append(out, accident{signal, at, w, counts[w]})
		}
	}
	return out
}

// scenario is what a killed command was about to do.
type scenario struct {
	name   string
	before []string // commits that were released before
	args   []string
	code   int // without an accident
	next   []string
	found  bool // of a machine: what runs before was made by hand
}

func scenarios() []scenario {
	return []scenario{
		{"first-release", nil, []string{"release", "v1"}, 0, []string{"release", "v1"}, false},
		{"second-release", []string{"v1"}, []string{"release", "v2"}, 0, []string{"release", "v2"}, false},
		{"failing-release", []string{"v1", "v2"}, []string{"release", "broken"}, exitRestored, []string{"release", "v2"}, false},
		{"rollback", []string{"v1", "v2"}, []string{"rollback"}, 0, []string{"rollback", "--to", "v1"}, false},
	}
}

// TestAKilledRunNeedsNoRepair kills the command before and after every write that
// it makes. Whatever was reached: the next command needs no manual step and ends
// in parity, and the ledger tells the truth. SHIPIT_SOAK tries every write.
//
// Each app has a registry of its own. A registry keeps a blob once for all its
// repositories, so in a shared one how many blobs a run uploads would depend on what
// the others have pushed by then.
func TestAKilledRunNeedsNoRepair(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	g := simulated(t)
	var all atomic.Int32
	soak := soaking(t, func() int { return int(all.Load()) })
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			all.Add(int32(g.killed(t, sc, soak)))
		})
	}
}

// killed tries a scenario's accidents, and returns how many there are.
func (g ground) killed(t *testing.T, sc scenario, soak soak) int {
	whole := g.withRegistry(t).shop(t, "kill-"+sc.name)
	for _, rev := range sc.before {
		whole.does(0, "release", whole.sha[rev])
	}
	writes := whole.writes(sc.code, whole.named(sc.args)...)
	t.Logf("%d writes: %s", len(writes), strings.Join(writes, ", "))
	cases := accidents(syscall.SIGKILL, writes, "before", "after")
	for _, i := range soak.order(len(cases)) {
		a := cases[i]
		if !soak.whole && i%(len(cases)/4) != 1 {
			continue
		}
		t.Run(fmt.Sprintf("%s %s %d", a.when, a.write, a.number), func(t *testing.T) {
			soak.begin(t)
			g.withRegistry(t).shop(t, fmt.Sprintf("kill-%s-%d", sc.name, i)).survives(sc, a)
		})
	}
	return len(cases)
}

// survives has an accident happen to a scenario's command, and demands that
// nothing need be repaired.
func (s *shop) survives(sc scenario, a accident) {
	for _, rev := range sc.before {
		s.does(0, "release", s.sha[rev])
	}
	cmd, said := s.command([]string{envAccident + "=" + a.String()}, s.named(sc.args)...)
	err := cmd.Run()
	var exit *exec.ExitError
	require.True(s.t, errors.As(err, &exit) && exit.ExitCode() == -1, "no such write: %v %s", err, said)
	if len(sc.before) > 0 && s.newest().Good() {
		s.does(0, "status") // what is called good is good
	}
	s.does(0, s.named(sc.next)...)
	s.does(0, "status")
	s.does(0, "verify")
	newest := s.newest()
	require.True(s.t, newest.Good(), newest.Outcome)
	want := s.named(sc.next)
	require.Equal(s.t, want[len(want)-1], newest.SHA)
}

// TestAStoppedRunChangesNothingAfterATakeover stops the command at writes for
// longer than its lock lasts, lets another release take over, and wakes it up.
func TestAStoppedRunChangesNothingAfterATakeover(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	g := simulated(t)
	all := g.shop(t, "stop-all")
	all.does(0, "release", all.sha["v1"])
	writes := all.writes(0, "release", all.sha["v2"])
	underLock, tried := false, 0
	soak := soaking(t, func() int { return tried })
	for i, a := range accidents(syscall.SIGSTOP, writes, "before") {
		// A registry's tags never move, whoever writes them; before the lock is taken a
		// run is merely later than the other.
		if underLock = underLock || a.write == "kubernetes PUT leases"; !underLock || !strings.HasPrefix(a.write, "kubernetes") || a.write == "kubernetes PUT leases" {
			continue
		}
		tried++
		t.Run(fmt.Sprintf("%s %d", a.write, a.number), func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			g.shop(t, fmt.Sprintf("stop-%d", i)).staysTakenOver(a)
		})
	}
	require.Positive(t, tried, "%q", writes)
}

// staysTakenOver stops a release of v2, lets another of v1 take over, and demands
// that the first one changes nothing when it wakes up.
func (s *shop) staysTakenOver(a accident) {
	s.does(0, "release", s.sha["v1"])
	cmd, said := s.command([]string{envAccident + "=" + a.String()}, "release", s.sha["v2"])
	require.NoError(s.t, cmd.Start())
	stopped(s.t, cmd.Process.Pid)
	settled := s.newest().SHA == s.sha["v2"] && s.newest().Good()
	s.takeOver(s.t)
	before := s.records()
	require.NoError(s.t, cmd.Process.Signal(syscall.SIGCONT))
	if err := cmd.Wait(); !settled {
		require.Error(s.t, err, "it says success though another run took over\n%s", said)
	}
	s.does(0, "status")
	require.Equal(s.t, before, s.records(), "%s", said)
}

// takeOver releases v1 again as soon as the lock has expired; v2 may have settled before.
func (s *shop) takeOver(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		cmd, _ := s.command(nil, "release", "--record", s.sha["v1"])
		return cmd.Run() == nil
	}, 5*time.Minute, 500*time.Millisecond, "the lock expires and is taken over")
}

// stopped waits until a process has been stopped by a signal.
func stopped(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(t, err)
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		require.NotEqual(t, "Z", string(fields[0]), "it has ended without such a write")
		return string(fields[0]) == "T"
	}, 5*time.Minute, 20*time.Millisecond)
}
