package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/joelhooks/shipit/pipeline/process"
)

// reachable says what an engine can be reached by: the runner that the
// environment names, or a container runtime that can start one.
func reachable(ctx context.Context) (string, error) {
	if host := os.Getenv(runnerHost); host != "" {
		return runnerHost, runnerReachable(ctx, host)
	}
	var tried []string
	for _, name := range []string{"docker", "podman", "nerdctl"} {
		if _, err := exec.LookPath(name); err != nil {
			continue
		}
		err := answers(ctx, name)
		if err == nil {
			return name, nil
		}
		tried = append(tried, fmt.Sprintf("%s does not answer (%s)", name, process.FirstLine(err.Error())))
	}
	if len(tried) == 0 {
		tried = append(tried, "neither Docker nor Podman is installed")
	}
	return "", &Error{
		Reason: fmt.Sprintf("%s, and %s names no runner", strings.Join(tried, ", "), runnerHost),
		Remedy: fmt.Sprintf("start Docker or Podman, or set %s to a remote engine such as tcp://host:port or kube-pod://…", runnerHost),
	}
}

// answers asks a container runtime for its version.
func answers(ctx context.Context, name string) error {
	limited, cancel := context.WithTimeoutCause(ctx, runtimeLimit, fmt.Errorf("no answer within %s", runtimeLimit))
	defer cancel()
	out, err := process.Group(limited, name, "version").CombinedOutput()
	if limited.Err() != nil {
		return context.Cause(limited)
	}
	if err != nil && len(out) > 0 {
		return errors.New(process.LastLine(string(out)))
	}
	return err
}

// runnerReachable tries what _EXPERIMENTAL_DAGGER_RUNNER_HOST names. The command
// line would hang on a socket that is not there.
func runnerReachable(ctx context.Context, host string) error {
	u, err := url.Parse(host)
	if err != nil || u.Scheme == "" {
		return &Error{Reason: fmt.Sprintf("%s is %q, which is no address", runnerHost, host), Remedy: "such as unix:///run/dagger/engine.sock or tcp://host:port"}
	}
	hint := fmt.Sprintf("start the engine, or set %s to where it is", runnerHost)
	switch u.Scheme {
	case "unix":
		err = dial(ctx, "unix", u.Path)
	case "tcp":
		err = dial(ctx, "tcp", u.Host)
	case "docker-container", "docker-image", "image", "container":
		err, hint = answers(ctx, "docker"), "start Docker"
	case "podman-container":
		err, hint = answers(ctx, "podman"), "start Podman"
	case "kube-pod":
		_, err = exec.LookPath("kubectl")
		hint = "install kubectl"
	}
	if err != nil {
		return &Error{Reason: fmt.Sprintf("%s is %s, and that cannot be reached: %s", runnerHost, host, process.FirstLine(err.Error())), Remedy: hint}
	}
	return nil
}
