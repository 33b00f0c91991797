package pipeline

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// ServiceError is a service of an image's tests that did not become ready, or ended
// while they ran.
type ServiceError struct {
	Name string
	Err  error
	Tail []string // the last lines of its output, or of the command that asks whether it is ready
}

func (e *ServiceError) Error() string {
	msg := fmt.Sprintf("service %s: %v", e.Name, e.Err)
	if len(e.Tail) > 0 {
		msg += ": " + strings.Join(e.Tail[max(0, len(e.Tail)-5):], " | ")
	}
	return msg
}

// Hint is what to do about it.
func (e *ServiceError) Hint() string {
	return "see what it printed; images.*.services." + e.Name + " may need other env, ports or ready, or a longer within"
}

// readyLimit is how long a service has to become ready.
const readyLimit = 30 * time.Second

// serviceNames are those of the image's services, sorted; none if no test could use one.
func serviceNames(img config.Image) []string {
	if len(img.Test) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(img.Services))
}

// serviceVariables tell tests where a service is.
func serviceVariables(name, host string, s config.Service) map[string]string {
	prefix := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return map[string]string{prefix + "_HOST": host, prefix + "_PORT": strconv.Itoa(s.Ports[0])}
}

// runsServices refuses by name the services that the chosen builder cannot run.
func (c chosen) runsServices(in Inputs) error {
	var found []release.Finding
	for _, name := range serviceNames(in.Image) {
		s, key := in.Image.Services[name], "images."+in.Name+".services."+name
		f := release.Finding{Code: release.CodeServiceNotRunnable, Severity: release.Refuses, Object: key, Fixed: true}
		switch {
		case c.name == embeddedBuilder && len(s.Command) == 0:
			f.Message = "has no command, and the embedded builder runs no image"
			f.Hint = "give " + key + " a command, which runs as a process of this machine, or build with Dagger"
		case c.name == daggerBuilder && s.Image == "":
			f.Message = "has no image, and Dagger runs nothing of this machine"
			f.Hint = "give " + key + " an image by digest, or build with `builder: embedded`"
		default:
			continue
		}
		found = append(found, f)
	}
	if found == nil {
		return nil
	}
	return release.Refuse(found, nil)
}

// untilReady is the command line that repeats a service's command until it succeeds, and
// in the end prints why it does not.
func untilReady(s config.Service) []string {
	const script = `end=$(($(date +%s) + $1)); shift; until said=$("$@" 2>&1); do ` +
		`test "$(date +%s)" -lt "$end" || { printf '%s\n' "$said"; exit 1; }; sleep 0.2 2>/dev/null || sleep 1; done`
	seconds := int(math.Ceil(s.Within.Or(readyLimit).Seconds()))
	return append([]string{"/bin/sh", "-c", script, "sh", strconv.Itoa(seconds)}, s.Ready...)
}

// within limits how long a service may take to listen.
func within(ctx context.Context, s config.Service) (context.Context, context.CancelFunc) {
	limit := s.Within.Or(readyLimit)
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("was not ready within %s", limit))
}

// asking limits how long the command that asks a service may take. It ends before, unless
// it hangs.
func asking(ctx context.Context, s config.Service) (context.Context, context.CancelFunc) {
	limit := s.Within.Or(readyLimit)
	return context.WithTimeoutCause(ctx, limit+5*time.Second, fmt.Errorf("was not ready within %s: its command ready has not ended", limit))
}
