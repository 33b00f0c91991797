package host

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// takenOver is in the error of a write that the machine refused.
const takenOver = "a later run has taken over"

// holding is a context of a run that got this number with the lock.
func holding(t *testing.T, number int64) context.Context {
	return release.WithFence(t.Context(), release.Fence{Ledger: "namespace test", Number: number})
}

func TestAWriteThatComesLateIsRefusedByTheMachine(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	d.Dir, d.Content = filepath.Join(root, "system"), "# a unit\n"
	sweep := func(number int64) error { return m.store(d).PrepareStaging(holding(t, number)) }
	require.NoError(t, sweep(9))
	require.NoError(t, sweep(10), "10 is later than 9")
	require.ErrorContains(t, sweep(9), takenOver)
	require.NoError(t, sweep(10))

	t.Run("also when only its input comes late", func(t *testing.T) {
		install := m.installing(d, service.State{})
		content, in := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := m.Change(holding(t, 10), write(d, "install"), install.With(content))
			ended <- err
		}()
		_, err := io.WriteString(in, d.Content[:3])
		require.NoError(t, err)
		require.NoError(t, sweep(11))
		_, err = io.WriteString(in, d.Content[3:])
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.ErrorContains(t, <-ended, takenOver)
		require.NoFileExists(t, d.UnitFile(m.Home))
	})
	t.Run("the numbers of another ledger do not count", func(t *testing.T) {
		ctx := release.WithFence(t.Context(), release.Fence{Ledger: "namespace other", Number: 1})
		require.NoError(t, m.store(d).PrepareStaging(ctx))
	})
}

// suspended holds up the number-th write of a run, after all that stands before it
// was asked, until goOn is closed.
type suspended struct {
	number  int
	waiting chan struct{} // closed when it waits
	goOn    chan struct{}
}

func (s *suspended) before(context.Context, release.Write) error {
	if s.number--; s.number == 0 {
		close(s.waiting)
		<-s.goOn
	}
	return nil
}

// lateWrites holds up a release at each of its writes, lets another take over, and
// lets it go on. SHIPIT_SOAK tries every write.
func lateWrites(t *testing.T, l *booted) {
	v1, v2 := served("late", 4097, "v1"), served("late", 4097, "v2")
	_, err := l.ship(t, v1, "")
	require.NoError(t, err)
	ship := func(ctx context.Context, m runner, d service.Definition) error {
		if err := m.prepared(ctx, roleOf(t, d), imageOfService(t, d, "")); err != nil {
			return err
		}
		_, err := m.activate(ctx, roleOf(t, d))
		return err
	}
	fence := int64(1)
	step := 3
	if os.Getenv("SHIPIT_SOAK") != "" {
		step = 1
	}
	for number := 1; ; number += step {
		stale := l.connect(t)
		s := &suspended{number: number, waiting: make(chan struct{}), goOn: make(chan struct{})}
		held := release.WithGuard(holding(t, fence), release.Guard{Before: s.before})
		ended := make(chan error, 1)
		go func() { ended <- ship(held, stale, v2) }()
		select {
		case err := <-ended:
			require.NoError(t, err)
			require.Greater(t, number, 6, "it has as many writes")
			require.NoError(t, stale.Close())
			return
		case <-s.waiting:
		}
		require.NoError(t, ship(holding(t, fence+1), l.m, v1))
		pid := l.pid(t, v1)
		close(s.goOn)
		require.ErrorContains(t, <-ended, takenOver, "write %d", number)
		require.Equal(t, pid, l.pid(t, v1), "write %d", number)
		live := l.observe(t, v1)
		require.Equal(t, v1.Digest, live.Digest())
		require.Empty(t, live.Note, "write %d", number)
		require.NoError(t, stale.Close())
		fence += 2
	}
}
