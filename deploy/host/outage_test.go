package host

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

func diskFull(t *testing.T, l *booted) {
	small, big := served("full", 4009, "v1"), served("full", 4009, "v2")
	l.sh(t, `mkdir -p "$1"; mount -t tmpfs -o size=8m tmpfs "$1"`, small.Root)
	_, err := l.ship(t, small, "")
	require.NoError(t, err)
	pid := l.pid(t, small)
	err = l.m.prepared(t.Context(), roleOf(t, big), contentOf(layerOf(t, hosttest.File("app/big", strings.Repeat("x", 12<<20)))))
	var full interface{ Hint() string }
	require.ErrorAs(t, err, &full)
	require.ErrorContains(t, err, "file system tmpfs at "+small.Root)
	require.Contains(t, full.Hint(), "7 MiB are free", "the staged part is gone")
	require.Empty(t, l.sh(t, `ls "$1/staging"`, small.Root))
	require.Equal(t, pid, l.pid(t, small))

	findings, err := l.m.preflight(t.Context(), roleOf(t, big), needs{})
	require.NoError(t, err)
	require.Equal(t, release.CodeDiskSpace, findings[0].Code, "and it is known before")
}

// stalling is a layer that stops in its middle until go on is closed.
func stalling(t *testing.T, goOn <-chan struct{}, reached chan<- struct{}) content.Layer {
	whole := layerOf(t, hosttest.File("app/big", strings.Repeat("x", 4<<20)))
	open := whole.Open
	whole.Open = func(ctx context.Context) (io.ReadCloser, error) {
		in, err := open(ctx)
		return &stall{ReadCloser: in, at: 2 << 20, goOn: goOn, reached: reached}, err
	}
	return whole
}

type stall struct {
	io.ReadCloser
	at      int
	goOn    <-chan struct{}
	reached chan<- struct{}
}

func (s *stall) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 64<<10)])
	if s.at > 0 && s.at <= n {
		close(s.reached)
		<-s.goOn
	}
	s.at -= n
	return n, err
}

func cutWhileUnpacking(t *testing.T, l *booted) {
	d := served("cut", 4010, "v1")
	m := l.wary(t)
	defer m.Close()
	goOn, reached := make(chan struct{}), make(chan struct{})
	layer := stalling(t, goOn, reached)
	ended := make(chan error, 1)
	go func() { ended <- m.prepared(t.Context(), roleOf(t, d), contentOf(layer)) }()
	select {
	case <-reached:
	case err := <-ended:
		t.Fatal(err)
	}
	require.Eventually(t, func() bool { // the layer is read before the machine's tar has begun
		out, err := l.Exec(t.Context(), "find", d.Root+"/staging", "-name", "big")
		return err == nil && out != ""
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, l.Cut(t.Context()))
	began := time.Now()
	close(goOn)
	var err error
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		require.Fail(t, "a dead connection was not noticed")
	}
	var lost *machine.LostError
	require.ErrorAs(t, err, &lost)
	require.Less(t, time.Since(began), 30*time.Second, "two missed signs of life")
	require.NoError(t, l.Heal(t.Context()))
	require.NotEmpty(t, l.sh(t, `ls "$1/staging"`, d.Root), "what was half done is there")
	require.Empty(t, l.sh(t, `ls "$1/releases"`, d.Root), "and not in place")

	require.NoError(t, l.m.Close())
	l.m = l.connect(t)
	_, err = l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.sh(t, `ls "$1/staging"`, d.Root))
}

func cutWhileSwitching(t *testing.T, l *booted) {
	v1, v2 := served("cutswitch", 4011, "v1", "TimeoutStopSec=60"), served("cutswitch", 4011, "v2", "TimeoutStopSec=60")
	v1.Stop, v2.Stop = 60_000, 60_000 // it stops when it is told to
	_, err := l.ship(t, v1, "slow")
	require.NoError(t, err)
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, v2), contentOf(layerOf(t, hosttest.File("app/version", "v2")))))
	m := l.wary(t)
	defer m.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := m.activate(t.Context(), roleOf(t, v2))
		ended <- err
	}()
	require.Eventually(t, func() bool {
		out, err := l.Exec(t.Context(), "systemctl", "show", "-p", "ActiveState", "--value", v1.File)
		return err == nil && strings.TrimSpace(out) == "deactivating"
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, l.Cut(t.Context()))
	err = <-ended
	var lost *machine.LostError
	require.ErrorAs(t, err, &lost)
	require.NoError(t, l.Heal(t.Context()))

	require.NoError(t, l.m.Close())
	l.m = l.connect(t)
	live := l.observe(t, v2)
	require.Contains(t, live.Note, "a switch began and did not end")
	l.sh(t, `touch /run/serve.stop`)
	// The next run may finish it, or take it back.
	live, err = l.m.activate(t.Context(), roleOf(t, v1))
	require.NoError(t, err)
	require.Equal(t, v1.Digest, live.Digest())
	live, err = l.m.activate(t.Context(), roleOf(t, v2))
	require.NoError(t, err)
	require.Equal(t, v2.Digest, live.Digest())
	require.Empty(t, live.Note)
}

func hostileNames(t *testing.T, l *booted) {
	d := inRoot(worker(), `/srv/shipit/a b'c"d$(touch pwned)`+"`touch pwned`"+`\e*;f`)
	d.Role = `host'$(touch /pwned)`
	d.Service, d.File = "hostile", "hostile.service"
	d.EnvFile, d.User = "/etc/no$(touch /pwned)", "no'body;touch /pwned"
	role := roleOf(t, d)
	require.NoError(t, l.m.prepared(t.Context(), role, contentOf(hostileTree(t))))
	require.NoError(t, l.m.prepared(t.Context(), role, contentOf(hostileTree(t))), "and it is verified")
	require.Equal(t, "content of $(touch pwned)", l.sh(t, `cat "$1/tree/\$(touch pwned)"`, d.ReleaseDir()))
	findings, err := l.m.preflight(t.Context(), role, needs{runtime: map[string]string{"$(touch /pwned)": "^1"}})
	require.NoError(t, err)
	var codes []string
	for _, f := range findings {
		codes = append(codes, string(f.Code))
	}
	require.Equal(t, []string{"UserMissing", "EnvFileMissing", "RuntimeMissing"}, codes)
	removed, err := l.m.store(d).Prune(t.Context(), content.Keep{})
	require.NoError(t, err)
	require.Equal(t, []string{d.Digest}, removed)
	require.Empty(t, l.sh(t, `ls -d /pwned /root/pwned /srv/shipit/pwned 2>/dev/null || true`))
}

func notTheKnownOne(t *testing.T, l *booted) {
	empty := filepath.Join(t.TempDir(), "known_hosts")
	h := l.config()
	h.KnownHosts = empty
	_, err := connect(t.Context(), h, Options{})
	var key interface{ Hint() string }
	require.ErrorAs(t, err, &key)
	require.Contains(t, key.Hint(), "ssh-keyscan -p 22 "+l.IP+" >> "+empty)

	other, err := devhost.NewKnownHosts(l.IP)
	require.NoError(t, err)
	require.NoError(t, writeFile(empty, other))
	_, err = connect(t.Context(), h, Options{})
	require.ErrorAs(t, err, &key)
	require.Contains(t, key.Hint(), "ssh-keygen -f "+empty+" -R")

	h = l.config()
	h.Address = "nobody@" + l.IP
	_, err = connect(t.Context(), h, Options{})
	var auth *machine.AuthError
	require.ErrorAs(t, err, &auth)

	h = l.config()
	h.Address += ":9"
	_, err = connect(t.Context(), h, Options{timeout: 2 * time.Second})
	require.ErrorContains(t, err, "is not reachable")
}

func oneConnection(t *testing.T, l *booted) {
	pool := machine.NewPool(machine.Options{})
	a, err := pool.Of(t.Context(), l.config())
	require.NoError(t, err)
	other := l.config()
	other.Service, other.Root = "another", "/srv/another"
	b, err := pool.Of(t.Context(), other)
	require.NoError(t, err)
	require.Same(t, a, b)
	require.Equal(t, "linux/amd64", a.Platform)
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { _, err := a.Read(t.Context(), machine.Script("true")); return err != nil }, time.Minute, 5*time.Millisecond)
	c, err := pool.Of(t.Context(), other)
	require.NoError(t, err)
	require.NotSame(t, a, c, "a lost connection is made again")
	require.NoError(t, pool.Close())
	_, err = c.Read(t.Context(), machine.Script("true"))
	var lost *machine.LostError
	require.True(t, errors.As(err, &lost), "%v", err)
}
