package host

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

// booted is a machine and a connection to it.
type booted struct {
	*devhost.Host
	m runner
}

func (l *booted) config() config.Host {
	return config.Host{Address: l.Address, Key: l.Key, KnownHosts: l.KnownHosts}
}

func (l *booted) options(t *testing.T) Options {
	began := time.Now()
	return Options{Progress: func(e release.Event) {
		if t.Context().Err() == nil { // the connection may outlive the story that made it
			t.Logf("%6.2fs %s %s %s", time.Since(began).Seconds(), e.Phase, e.Mark, e.Message)
		}
	}}
}

// connect is a new connection to the machine of h.
func connect(ctx context.Context, h config.Host, o Options) (runner, error) {
	m, err := machine.NewPool(machine.Options{Timeout: o.timeout, KeepAlive: o.keepAlive}).Of(ctx, h)
	return runner{m, o.Progress, cmp.Or(o.listen, time.Minute)}, err
}

func (l *booted) connect(t *testing.T) runner {
	t.Helper()
	m, err := connect(t.Context(), l.config(), l.options(t))
	require.NoError(t, err)
	return m
}

// wary is a connection that is known to be dead after four seconds, for machines that
// are cut.
func (l *booted) wary(t *testing.T) runner {
	t.Helper()
	o := l.options(t)
	o.keepAlive = 2 * time.Second
	m, err := connect(t.Context(), l.config(), o)
	require.NoError(t, err)
	return m
}

func (l *booted) sh(t *testing.T, body string, args ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), append([]string{"sh", "-ec", body, "sh"}, args...)...)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

// service is a definition of the test program, serving version on port.
func served(name string, port int, version string, lines ...string) service.Definition {
	d := service.Definition{ServiceDefinition: release.ServiceDefinition{
		Kind: "systemd", App: "sample", Role: name, Service: "test." + name, Domain: "system", File: "test." + name + ".service",
		Root: "/srv/shipit/" + name, Port: port, Stop: 1000, Stable: 100, EnvFile: "/etc/test.env",
		Digest: fmt.Sprintf("sha256:%064x", []byte(version)), Command: []string{"/usr/local/bin/serve"},
	}}
	d.Env = map[string]string{"SHIPIT_RELEASE": d.Digest, "PORT": fmt.Sprint(port)}
	d.Workdir = d.ReleaseDir() + "/app"
	d.Content = "[Unit]\nDescription=a test\n[Service]\nType=exec\nExecStart=/usr/local/bin/serve\nWorkingDirectory=" + d.Workdir +
		"\nEnvironment=SHIPIT_RELEASE=" + d.Digest + fmt.Sprintf(" PORT=%d", port) +
		"\nEnvironmentFile=-/etc/test.env\nRestart=always\nRestartSec=1\nTimeoutStopSec=1\n" + strings.Join(lines, "\n") +
		"\n[Install]\nWantedBy=multi-user.target\n"
	return d
}

// imageOfService is the image of a version of the service.
func imageOfService(t *testing.T, d service.Definition, mode string) treeOf {
	t.Helper()
	version := strings.TrimLeft(d.Digest[7:], "0")
	return contentOf(layerOf(t, hosttest.File("app/version", version), hosttest.File("app/mode", mode)))
}

// ship prepares and switches to a version of the service.
func (l *booted) ship(t *testing.T, d service.Definition, mode string) (release.Live, error) {
	t.Helper()
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, d), imageOfService(t, d, mode)))
	return l.m.activate(t.Context(), roleOf(t, d))
}

func (l *booted) pid(t *testing.T, d service.Definition) string {
	return l.sh(t, `systemctl show -p MainPID --value "$1"`, d.File)
}

func failureOf(t *testing.T, err error) *release.Failure {
	t.Helper()
	var f *release.Failure
	require.ErrorAs(t, err, &f)
	return f
}

func (l *booted) ask(t *testing.T, port int) string {
	t.Helper()
	body, err := l.answer(t.Context(), port)
	require.NoError(t, err)
	return body
}

func (l *booted) listens(port int) bool {
	_, err := l.answer(context.Background(), port)
	return err == nil
}

// answer is what a port of the machine answers.
func (l *booted) answer(ctx context.Context, port int) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		return "", err
	}
	resp, err := l.m.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
