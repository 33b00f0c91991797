package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// failure is why the service is not up, with the last lines it wrote.
func (m *machine) failure(ctx context.Context, d definition, s state) *release.Failure {
	f := &release.Failure{Role: d.Role, Code: release.CodeServiceFailed, Object: d.object(), ExitCode: s.exit, Signal: s.signal}
	switch {
	case s.signal != "":
		f.Message = "ended by " + s.signal
	case s.exit != nil:
		f.Message = fmt.Sprintf("ended with exit code %d", *s.exit)
	case s.cause != "":
		f.Message = s.cause
	default:
		f.Message = "is " + string(s.phase)
	}
	if s.phase == phaseRestarting || s.phase == phaseUp || s.restarts > 0 {
		f.Code = release.CodeCrashLoop
		f.Message += ", and is started again and again"
	}
	f.Hint = "the lines above are its last log lines; fix it and release again"
	if f.Log = m.lastLogLines(ctx, d, s); len(f.Log) == 0 {
		f.Hint = "it wrote nothing; `journalctl -u " + d.Service + "` on " + m.name + " has what was before"
		if d.Kind == "launchd" {
			f.Hint = "it wrote nothing to " + strings.Join(d.Logs, ", ")
		}
	}
	return f
}

// lastLogLines are the last lines of the log, without secrets; none if they cannot
// be read: the failure counts, not its illustration.
func (m *machine) lastLogLines(ctx context.Context, d definition, s state) []string {
	const count, width = 20, 400
	var res result
	for _, cmd := range m.supervisor(d).log(d, s) {
		var err error
		if res, err = m.read(ctx, cmd); err != nil {
			return nil
		}
	}
	secrets, ok := m.secrets(ctx, d)
	if !ok {
		return []string{"(not shown: " + d.EnvFile + " cannot be read, so its secrets could not be masked)"}
	}
	mask := strings.NewReplacer(secrets...)
	all := lines(res.Stdout)
	all = all[max(0, len(all)-count):]
	for i, line := range all {
		line = release.Visible(secretWord.ReplaceAllString(mask.Replace(line), "$1$2***"))
		if len(line) > width {
			line = line[:width] + "…"
		}
		all[i] = line
	}
	return all
}

// secrets are the values of the service's environment file, each followed by
// what stands for it; they live only as long as a log is masked.
func (m *machine) secrets(ctx context.Context, d definition) (pairs []string, ok bool) {
	const shortest = 4 // masking "1" or "yes" would make a log unreadable
	if d.EnvFile == "" {
		return nil, true
	}
	res, err := m.read(ctx, script(`[ -e "$1" ] || exit 0; exec cat "$1"`, d.EnvFile))
	if err != nil {
		return nil, false
	}
	for _, value := range parseEnvFile(res.Stdout) {
		for _, part := range append([]string{value}, strings.Split(value, "\n")...) {
			if len(part) >= shortest {
				pairs = append(pairs, part, "***")
			}
		}
	}
	return pairs, true
}
