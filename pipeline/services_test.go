package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// serviceProgram is testdata/service, built.
func serviceProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "service")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// freePort is a port of this machine that nothing listens on, and that no program is
// given by chance: those begin at 32768.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprint(":", port)); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
}

// withService is the worker with a service and a test that asks it.
func withService(t *testing.T, program string) config.Image {
	t.Helper()
	port := freePort(t)
	img := workerImage()
	img.Toolchain = toolchain
	img.Services = map[string]config.Service{"my-db": {
		Command: []string{program}, Ports: []int{port}, Env: map[string]string{"PORT": strconv.Itoa(port), "GREETING": "hello"},
	}}
	img.Test = [][]string{{"bash", "-c", `read -r greeting n </dev/tcp/$MY_DB_HOST/$MY_DB_PORT && test "$greeting" = hello`}}
	return img
}

func TestTestsTalkToTheirServices(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := withService(t, serviceProgram(t))
	opts := testOptions(t)
	var told []string
	opts.Progress = func(e release.Event) { told = append(told, fmt.Sprint(e.Phase, " ", e.Mark, " ", e.Message)) }
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Contains(t, told, "test done service my-db is ready")
	require.Contains(t, told, "test start run "+strings.Join(img.Test[0], " "))
	require.False(t, answers(t.Context(), img.Services["my-db"].Ports[0]), "it has ended with the build")
}

func TestAServiceIsReadyWhenItsCommandSaysSo(t *testing.T) {
	r := sample.New(t, sample.Options{})
	program := serviceProgram(t)
	for name, tc := range map[string]struct{ ready, fault string }{
		"after a while": {`read -r _ n </dev/tcp/$MY_DB_HOST/$MY_DB_PORT && test "$n" -gt 3`, ""},
		"never":         {"echo no such table; exit 1", "service my-db: is not ready: no such table"},
	} {
		t.Run(name, func(t *testing.T) {
			img := withService(t, program)
			s := img.Services["my-db"]
			s.Ready, s.Within = []string{"bash", "-c", tc.ready}, config.Duration(time.Minute)
			if tc.fault != "" {
				s.Within = config.Duration(3 * time.Second)
			}
			img.Services["my-db"] = s
			_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			if tc.fault == "" {
				require.NoError(t, err)
				return
			}
			var failed *ServiceError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, tc.fault)
		})
	}
}

func TestAServiceThatCannotServeIsNamed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	program := serviceProgram(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, tc := range map[string]struct {
		change func(*config.Service, *config.Image)
		says   string
	}{
		"its port is in use": {func(s *config.Service, _ *config.Image) {
			s.Ports = []int{taken.Addr().(*net.TCPAddr).Port}
		}, fmt.Sprintf("service my-db: port %d of this machine is in use already", taken.Addr().(*net.TCPAddr).Port)},
		"it ends before it is ready": {func(s *config.Service, _ *config.Image) {
			s.Command = []string{"sh", "-c", "echo no data folder; exit 7"}
		}, "service my-db: exit status 7: no data folder"},
		"it ends while the tests run": {func(s *config.Service, img *config.Image) {
			s.Env["LIFE"] = "300ms"
			img.Test = [][]string{{"sleep", "300"}}
		}, "service my-db: exit status 4: out of memory"},
		"it listens on nothing": {func(s *config.Service, _ *config.Image) {
			s.Command, s.Within = []string{"sleep", "300"}, config.Duration(200*time.Millisecond)
		}, "was not ready within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			img := withService(t, program)
			s := img.Services["my-db"]
			tc.change(&s, &img)
			img.Services["my-db"] = s
			began := time.Now()
			_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			var failed *ServiceError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, tc.says)
			require.NotEmpty(t, failed.Hint())
			require.Less(t, time.Since(began), time.Minute)
		})
	}
}

func TestAServiceThatTheBuilderCannotRunIsRefusedByName(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Test, img.Run = toolchain, [][]string{{"true"}}, [][]string{{"false"}}
	port := []int{6379}
	img.Services = map[string]config.Service{
		"of-image":   {Image: toolchain, Ports: port},
		"of-command": {Command: []string{"redis-server"}, Ports: port},
	}
	remote, _ := daggerOptions(t)
	for service, opts := range map[string]Options{"of-image": testOptions(t), "of-command": remote} {
		_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		var refused *release.Refusal
		require.ErrorAs(t, err, &refused, service)
		require.Len(t, refused.Findings, 1)
		require.Equal(t, release.CodeServiceNotRunnable, refused.Findings[0].Code)
		require.Equal(t, "images.worker.services."+service, refused.Findings[0].Object)
		require.NotEmpty(t, refused.Findings[0].Hint)
	}
}

func TestTheServicesOfADaggerBuild(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Test, img.Sharing = toolchain, [][]string{{"true", "a"}}, "locked"
	img.Services = map[string]config.Service{"my-db": {
		Image: "docker.io/library/redis@sha256:1", Ports: []int{6379, 6380}, Args: []string{"--save", ""}, Env: map[string]string{"A": "b"}, Ready: []string{"true", "ready"},
	}}
	opts, engine := daggerOptions(t)
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	var asked []string
	for _, c := range engine.asked {
		last := c[len(c)-1]
		if last.name == "sync" && len(c.all("withExec")) > 0 {
			args := c.all("withExec")[0].args["args"].([]any)
			asked = append(asked, fmt.Sprint(args[len(args)-2:]))
			bound := c.all("withServiceBinding")[0]
			require.Equal(t, "my-db", bound.args["alias"])
			service := engine.object(bound.args["service"])
			require.Equal(t, "docker.io/library/redis@sha256:1", service.all("from")[0].args["address"])
			require.Len(t, service.all("withExposedPort"), 2)
			require.Equal(t, []any{"--save", ""}, service.all("asService")[0].args["args"])
			require.Equal(t, true, service.all("asService")[0].args["useEntrypoint"])
			env := map[any]any{}
			for _, e := range c.all("withEnvVariable") {
				env[e.args["name"]] = e.args["value"]
			}
			require.Equal(t, "my-db", env["MY_DB_HOST"])
			require.Equal(t, "6379", env["MY_DB_PORT"])
			require.Equal(t, args[len(args)-1] == "ready", env["SHIPIT_NO_CACHE"] != nil, "the engine asks each time whether it is ready")
			require.Equal(t, "LOCKED", c.all("withMountedCache")[0].args["sharing"])
		}
		if last.name == "start" || last.name == "stop" {
			asked = append(asked, last.name)
		}
	}
	require.Equal(t, []string{"start", "[true ready]", "[true a]", "stop"}, asked)
}

// Services are processes of this machine: their ports are those of every build on it,
// whatever its folders are.
func TestAPortServesTheTestsOfOneImageAtATime(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img, signal := withService(t, serviceProgram(t)), filepath.Join(t.TempDir(), "go-on")
	const greets = `greets() { read -r greeting n </dev/tcp/$MY_DB_HOST/$MY_DB_PORT && test "$greeting" = "$1"; }; `
	first := resolve(t, r.Dir, img)
	first.Image.Test = [][]string{{"bash", "-ec", greets + `greets hello; echo meet; n=0; until test -e ` + signal +
		`; do n=$((n + 1)); test $n -lt 2400; sleep 0.05; done; greets hello`}}
	second := resolve(t, r.Dir, img)
	service := img.Services["my-db"]
	service.Env = map[string]string{"PORT": service.Env["PORT"], "GREETING": "welcome"}
	second.Image.Services = map[string]config.Service{"my-db": service}
	second.Image.Test = [][]string{{"bash", "-ec", greets + `greets welcome`}}

	met, ended := make(chan struct{}), make(chan error, 1)
	opts := testOptions(t)
	opts.Progress = func(e release.Event) {
		if e.Message == "meet" {
			close(met)
		}
	}
	go func() {
		_, err := Build(t.Context(), first, opts)
		ended <- err
	}()
	select {
	case <-met:
	case err := <-ended:
		require.NoError(t, err)
		require.Fail(t, "its tests have not run")
	}
	waits := fmt.Sprintf("another build has port %d for its tests: waiting for it", service.Ports[0])
	build := func(ctx context.Context, waiting func()) error {
		opts := testOptions(t)
		opts.Progress = func(e release.Event) {
			if e.Message == waits {
				waiting()
			}
		}
		_, err := Build(ctx, second, opts)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := build(ctx, cancel)
	waited := build(t.Context(), func() { require.NoError(t, os.WriteFile(signal, nil, 0o600)) })
	require.NoError(t, os.WriteFile(signal, nil, 0o600))
	require.NoError(t, <-ended)
	require.ErrorIs(t, stopped, context.Canceled)
	require.NoError(t, waited)
}
