package service

import (
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// variables reads assignments that end with a zero byte each, as the kernel
// keeps the environment of a process.
func variables(block string) map[string]string {
	vars := map[string]string{}
	for _, assignment := range strings.Split(block, "\x00") {
		if name, value, found := strings.Cut(assignment, "="); found {
			vars[name] = value
		}
	}
	return vars
}

// wrongVariables names the variables of the main process that are not as the
// Definition, its environment file and the service manager give them, each with
// what is wrong of it. Values are left out: they may be secret. It is empty where
// the environment cannot be read.
func (s State) wrongVariables(d Definition) map[string]string {
	if s.environ == nil || d.EnvFile != "" && s.envFile == nil {
		return nil
	}
	wrong := map[string]string{}
	file, wanted := map[string]string{}, map[string]string{}
	if s.envFile != nil {
		file = parseEnvFile(*s.envFile)
	}
	maps.Copy(wanted, d.Env)
	maps.Copy(wanted, file) // a variable of the file wins
	for name := range wanted {
		got, found := s.environ[name]
		_, fromFile := file[name]
		switch {
		case found && got == wanted[name]:
		case fromFile:
			wrong[name] = "is not what " + d.EnvFile + " says"
		case !found:
			wrong[name] = "is missing"
		default:
			wrong[name] = "has another value"
		}
	}
	for name := range s.environ {
		if _, known := wanted[name]; !known && !s.managerSets(name) {
			wrong[name] = "is not of the release"
		}
	}
	return wrong
}

// managerSets reports whether a variable of the main process comes from the
// service manager: from the block that it gives every service, from the user's
// account, or as a word from systemd to the process, as systemd.exec(5) lists
// them.
func (s State) managerSets(name string) bool {
	value := s.environ[name]
	if given, found := s.manager[name]; found && (given == value || strings.HasPrefix(given, "$'")) {
		return true
	}
	switch name {
	case "USER", "LOGNAME":
		return value == s.account.name
	case "HOME":
		return value == s.account.home
	case "SHELL":
		return value == s.account.shell
	case "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "SYSTEMD_INVOCATION_ID", "MAINPID", "MANAGERPID", "MANAGERPIDFDID",
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "LOG_NAMESPACE",
		"LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES", "FDSTORE", "CREDENTIALS_DIRECTORY", "XDG_RUNTIME_DIR",
		"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "CONFIGURATION_DIRECTORY":
		return true
	}
	return false
}

// GivenByHand names what the system's service manager gives every service beyond
// its path and language, which every service has: an administrator has set them.
func (s State) GivenByHand(d Definition) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.manager)) {
		_, has := s.environ[name]
		if d.Domain == "system" && has && name != "PATH" && name != "LANG" && name != "LANGUAGE" && !strings.HasPrefix(name, "LC_") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "the service manager gives every service " + strings.Join(names, ", ")
}

var variableName = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnvFile reads an environment file as systemd does (systemd.exec(5),
// EnvironmentFile=): values may be quoted, may go over several lines, and a line
// that ends with a backslash goes on, but a comment does not (as of systemd 254).
// What is no variable's name is left out.
func parseEnvFile(text string) map[string]string {
	p := envParser{vars: map[string]string{}, step: (*envParser).beforeKey}
	for i := range len(text) {
		p.step(&p, text[i])
	}
	p.end()
	return p.vars
}

// envParser is a state machine: step takes one byte.
type envParser struct {
	vars       map[string]string
	key, value []byte
	trimmed    int  // length of value without the white space at its end
	assigned   bool // the key's equals sign was read
	step       func(*envParser, byte)
}

func isNewline(c byte) bool { return c == '\n' || c == '\r' }
func isBlank(c byte) bool   { return c == ' ' || c == '\t' || isNewline(c) }

func (p *envParser) beforeKey(c byte) {
	switch {
	case c == '#' || c == ';':
		p.step = (*envParser).inComment
	case !isBlank(c):
		p.key = append(p.key, c)
		p.step = (*envParser).inKey
	}
}

func (p *envParser) inComment(c byte) {
	switch {
	case isNewline(c):
		p.step = (*envParser).beforeKey
	case c == '\\':
		p.step = func(p *envParser, c byte) {
			p.step = (*envParser).inComment
			if isNewline(c) {
				p.step = (*envParser).beforeKey
			}
		}
	}
}

func (p *envParser) inKey(c byte) {
	switch {
	case isNewline(c):
		p.key = p.key[:0]
		p.step = (*envParser).beforeKey
	case c == '=':
		p.assigned, p.step = true, (*envParser).beforeValue
	default:
		p.key = append(p.key, c)
	}
}

// beforeValue is also the state behind a closing quote.
func (p *envParser) beforeValue(c byte) {
	switch {
	case isNewline(c):
		p.end()
	case c == '\'':
		p.step = (*envParser).inSingleQuotes
	case c == '"':
		p.step = (*envParser).inDoubleQuotes
	case c == '\\':
		p.step = (*envParser).escaped
	case !isBlank(c):
		p.step = (*envParser).inValue
		p.add(c)
	}
}

func (p *envParser) inValue(c byte) {
	switch {
	case isNewline(c):
		p.end()
	case c == '\\':
		p.step = (*envParser).escaped
	case isBlank(c):
		p.value = append(p.value, c)
	default:
		p.add(c)
	}
}

func (p *envParser) escaped(c byte) {
	p.step = (*envParser).inValue
	if !isNewline(c) {
		p.add(c)
	}
}

func (p *envParser) inSingleQuotes(c byte) {
	if c == '\'' {
		p.step = (*envParser).beforeValue
		return
	}
	p.add(c)
}

func (p *envParser) inDoubleQuotes(c byte) {
	switch c {
	case '"':
		p.step = (*envParser).beforeValue
	case '\\':
		p.step = func(p *envParser, c byte) {
			p.step = (*envParser).inDoubleQuotes
			if !strings.ContainsRune("\"\\`$\n", rune(c)) {
				p.add('\\')
			}
			if c != '\n' {
				p.add(c)
			}
		}
	default:
		p.add(c)
	}
}

func (p *envParser) add(c byte) {
	p.value = append(p.value, c)
	p.trimmed = len(p.value)
}

// end takes the variable that was read, if there is one.
func (p *envParser) end() {
	name := strings.TrimRight(string(p.key), " \t\n\r")
	if p.assigned && variableName().MatchString(name) {
		p.vars[name] = string(p.value[:p.trimmed])
	}
	p.key, p.value, p.trimmed, p.assigned = p.key[:0], p.value[:0], 0, false
	p.step = (*envParser).beforeKey
}
