package host

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// holding is a context of a run that got this number with the lock.
func holding(t *testing.T, number int64) context.Context {
	return release.WithFence(t.Context(), release.Fence{Ledger: "namespace test", Number: number})
}

func TestAWriteThatComesLateIsRefusedByTheMachine(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	d.Dir, d.Content = filepath.Join(root, "system"), "# a unit\n"
	sweep := func(number int64) error {
		_, err := m.change(holding(t, number), d.write("sweep"), script(sweepScript, d.Root, m.run))
		return err
	}
	require.NoError(t, sweep(9))
	require.NoError(t, sweep(10), "10 is later than 9")
	var fenced *fencedError
	require.ErrorAs(t, sweep(9), &fenced)
	require.NoError(t, sweep(10))

	t.Run("also when only its input comes late", func(t *testing.T) {
		install := m.installing(d, state{})
		content, in := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := m.change(holding(t, 10), d.write("install"), install.with(content))
			ended <- err
		}()
		_, err := io.WriteString(in, d.Content[:3])
		require.NoError(t, err)
		require.NoError(t, sweep(11))
		_, err = io.WriteString(in, d.Content[3:])
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.ErrorAs(t, <-ended, &fenced)
		require.NoFileExists(t, d.unitFile(m.home))
	})
	t.Run("the numbers of another ledger do not count", func(t *testing.T) {
		ctx := release.WithFence(t.Context(), release.Fence{Ledger: "namespace other", Number: 1})
		_, err := m.change(ctx, d.write("sweep"), script(sweepScript, d.Root, m.run))
		require.NoError(t, err)
	})
}

// suspended is a way to a machine on which the number-th change waits, after all
// that stands before it was asked, until goOn is closed.
type suspended struct {
	transport
	number  int
	waiting chan struct{} // closed when it waits
	goOn    chan struct{}
}

func (s *suspended) run(ctx context.Context, cmd command) (result, error) {
	if len(cmd.Argv) > 2 && cmd.Argv[2] == behindFence {
		if s.number--; s.number == 0 {
			close(s.waiting)
			<-s.goOn
		}
	}
	return s.transport.run(ctx, cmd)
}

// lateWrites holds up a release at each of its writes, lets another take over, and
// lets it go on. SHIPIT_SOAK tries every write.
func lateWrites(t *testing.T, l *booted) {
	v1, v2 := service("late", 4097, "v1"), service("late", 4097, "v2")
	_, err := l.ship(t, v1, "")
	require.NoError(t, err)
	ship := func(ctx context.Context, m *machine, d definition) error {
		if err := m.prepare(ctx, d.role(t), contentOf(layerOf(t, file("app/version", "v2")))); err != nil {
			return err
		}
		_, err := m.activate(ctx, d.role(t))
		return err
	}
	fence := int64(1)
	step := 3
	if os.Getenv("SHIPIT_SOAK") != "" {
		step = 1
	}
	for number := 1; ; number += step {
		stale := l.connect(t)
		s := &suspended{transport: stale.via, number: number, waiting: make(chan struct{}), goOn: make(chan struct{})}
		stale.via = s
		ended := make(chan error, 1)
		go func() { ended <- ship(holding(t, fence), stale, v2) }()
		select {
		case err := <-ended:
			require.NoError(t, err)
			require.Greater(t, number, 6, "it has as many writes")
			require.NoError(t, stale.close())
			return
		case <-s.waiting:
		}
		require.NoError(t, ship(holding(t, fence+1), l.m, v1))
		pid := l.pid(t, v1)
		close(s.goOn)
		var fenced *fencedError
		require.ErrorAs(t, <-ended, &fenced, "write %d", number)
		require.Equal(t, pid, l.pid(t, v1), "write %d", number)
		live := l.observe(t, v1)
		require.Equal(t, v1.Digest, live.Digest())
		require.Empty(t, live.Note, "write %d", number)
		require.NoError(t, stale.close())
		fence += 2
	}
}
