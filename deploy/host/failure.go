package host

import (
	"context"
	"fmt"
	"regexp"
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
	mask, ok := m.masking(ctx, d)
	if !ok {
		return []string{"(not shown: " + d.EnvFile + " cannot be read, so its secrets could not be masked)"}
	}
	all := lines(mask(res.Stdout))
	all = all[max(0, len(all)-count):]
	for i, line := range all {
		line = secretWord.ReplaceAllString(line, "$1$2***")
		if len(line) > width {
			line = line[:width] + "…"
		}
		all[i] = line
	}
	return all
}

// secretName is the name of a variable whose value is hidden however short it is.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|key|credential|pin$`)

// masking hides the values of the service's environment file in a text. A value of
// less than four characters would make a log unreadable: it is hidden where it is a
// word, and only if the variable's name says that it is a secret.
func (m *machine) masking(ctx context.Context, d definition) (mask func(string) string, ok bool) {
	file := ""
	if d.EnvFile != "" {
		res, err := m.read(ctx, script(`[ -e "$1" ] || exit 0; exec cat "$1"`, d.EnvFile))
		if err != nil {
			return nil, false
		}
		file = res.Stdout
	}
	var values, short []string
	for name, value := range parseEnvFile(file) {
		values = append(values, value)
		if value != "" && len(value) < 4 && secretName.MatchString(name) {
			short = append(short, regexp.QuoteMeta(value))
		}
	}
	words := regexp.MustCompile(`(^|[^\pL\pN_])(?:` + strings.Join(short, "|") + `)($|[^\pL\pN_])`)
	return func(text string) string {
		text = release.Redact(text, values)
		if len(short) > 0 {
			text = words.ReplaceAllString(text, "${1}[redacted]$2")
		}
		return text
	}, true
}
