package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// failure is why the service is not up, with the last lines it wrote.
func (r runner) failure(ctx context.Context, d service.Definition, s service.State) *release.Failure {
	f := &release.Failure{Role: d.Role, Code: release.CodeServiceFailed, Object: d.Object(), ExitCode: s.Exit, Signal: s.Signal}
	switch {
	case s.Signal != "":
		f.Message = "ended by " + s.Signal
	case s.Exit != nil:
		f.Message = fmt.Sprintf("ended with exit code %d", *s.Exit)
	case s.Cause != "":
		f.Message = s.Cause
	default:
		f.Message = "is " + string(s.Phase)
	}
	if s.Phase == service.PhaseRestarting || s.Phase == service.PhaseRunning || s.Restarts > 0 {
		f.Code = release.CodeCrashLoop
		f.Message += ", and is started again and again"
	}
	f.Hint = "the lines above are its last log lines; fix it and release again"
	if f.Log = r.lastLogLines(ctx, d, s); len(f.Log) == 0 {
		f.Hint = "it wrote nothing; `journalctl -u " + d.Service + "` on " + r.Name + " has what was before"
		if d.Kind == "launchd" {
			f.Hint = "it wrote nothing to " + strings.Join(d.Logs, ", ")
		}
	}
	return f
}

// lastLogLines are the last lines of the log, without secrets; none if they cannot
// be read: the failure counts, not its illustration.
func (r runner) lastLogLines(ctx context.Context, d service.Definition, s service.State) []string {
	const count, width = 20, 400
	var res machine.Result
	for _, cmd := range r.manager(d).Log(d, s) {
		var err error
		if res, err = r.Read(ctx, cmd); err != nil {
			return nil
		}
	}
	mask, ok := r.mask(ctx, d)
	if !ok {
		return []string{"(not shown: " + d.EnvFile + " cannot be read, so its secrets could not be masked)"}
	}
	all := machine.Lines(mask(res.Stdout))
	all = all[max(0, len(all)-count):]
	for i, line := range all {
		line = service.MaskWords(line)
		if len(line) > width {
			line = line[:width] + "…"
		}
		all[i] = line
	}
	return all
}

// mask returns what hides the secrets of the service's environment file in a text;
// false: the file cannot be read.
func (r runner) mask(ctx context.Context, d service.Definition) (mask func(string) string, ok bool) {
	file := ""
	if d.EnvFile != "" {
		res, err := r.Read(ctx, machine.Script(`[ -e "$1" ] || exit 0; exec cat "$1"`, d.EnvFile))
		if err != nil {
			return nil, false
		}
		file = res.Stdout
	}
	return service.Mask(file), true
}
