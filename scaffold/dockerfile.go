package scaffold

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// dockerfile is what the last stage of a Dockerfile runs, and on what.
type dockerfile struct {
	file          string
	base          located // image of the last stage
	toolchain     located // image of the stage that installs
	command       []string
	commandLine   int
	env           []setting
	port          int
	user          string
	builds        [][]string // commands that build after the install
	system        located    // the first command of the last stage that changes its base
	ignoreScripts bool       // the install runs no scripts of packages
}

// located is a text and the line where it was found.
type located struct {
	text string
	line int
}

// setting is one environment variable.
type setting struct{ name, value string }

// stage is one FROM and what follows it.
type stage struct {
	base string
	line int
	runs []located
}

// readDockerfile reads what can be known without running it.
func readDockerfile(f files, at string) dockerfile {
	d := dockerfile{file: at}
	p := dockerfileReader{args: map[string]string{}, stages: map[string]*stage{}, out: &d}
	for _, line := range continued(f.text(at)) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line.text), " ")
		p.instruction(strings.ToUpper(verb), strings.TrimSpace(rest), line.line)
	}
	p.finish()
	return d
}

// continued are the lines of a Dockerfile or script without comments, those that end
// with a backslash joined.
func continued(text string) []located {
	var lines []located
	open := false
	for i, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		body, goesOn := strings.CutSuffix(strings.TrimRight(line, " \t\r"), "\\")
		if open {
			last := &lines[len(lines)-1]
			last.text += " " + strings.TrimSpace(body)
		} else {
			lines = append(lines, located{body, i + 1})
		}
		open = goesOn
	}
	return lines
}

type dockerfileReader struct {
	args   map[string]string
	stages map[string]*stage // by name
	order  []*stage
	out    *dockerfile

	entrypoint, arguments []string
}

func (p *dockerfileReader) instruction(verb, rest string, line int) {
	switch verb {
	case "ARG":
		name, value, _ := strings.Cut(rest, "=")
		p.args[name] = strings.Trim(value, `"'`)
	case "FROM":
		p.from(strings.Fields(rest), line)
	case "RUN":
		if len(p.order) > 0 {
			last := p.order[len(p.order)-1]
			last.runs = append(last.runs, located{rest, line})
		}
	case "ENV":
		p.out.env = append(p.out.env, variables(rest)...)
	case "EXPOSE":
		p.out.port, _ = strconv.Atoi(strings.TrimSuffix(strings.Fields(rest + " ")[0], "/tcp"))
	case "USER":
		p.out.user = rest
	case "ENTRYPOINT":
		p.entrypoint, p.arguments, p.out.commandLine = words(rest), nil, line
	case "CMD":
		p.arguments, p.out.commandLine = words(rest), line
	}
}

// from begins a stage; what the stage before it set up counts no more.
func (p *dockerfileReader) from(fields []string, line int) {
	fields = slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "--") })
	if len(fields) == 0 {
		return
	}
	s := &stage{base: p.expand(fields[0]), line: line}
	if before, ok := p.stages[strings.ToLower(s.base)]; ok {
		s.base, s.line, s.runs = before.base, before.line, slices.Clone(before.runs)
	} else {
		p.out.env, p.out.user, p.out.port = nil, "", 0
	}
	p.entrypoint, p.arguments = nil, nil
	p.order = append(p.order, s)
	if len(fields) == 3 {
		p.stages[strings.ToLower(fields[2])] = s
	}
}

var argument = pattern.Lazy(`\$\{?(\w+)(?::-([^}]*))?\}?`)

// expand puts in the defaults of build arguments.
func (p *dockerfileReader) expand(text string) string {
	return argument().ReplaceAllStringFunc(text, func(ref string) string {
		m := argument().FindStringSubmatch(ref)
		if value := p.args[m[1]]; value != "" {
			return value
		}
		return m[2]
	})
}

func (p *dockerfileReader) finish() {
	if len(p.order) == 0 {
		return
	}
	last := p.order[len(p.order)-1]
	p.out.base = located{last.base, last.line}
	p.out.command = append(slices.Clone(p.entrypoint), p.arguments...)
	for _, s := range p.order {
		for _, run := range s.runs {
			for _, step := range regexp.MustCompile(`&&|;`).Split(run.text, -1) {
				p.step(s, located{strings.TrimSpace(step), run.line}, s == last)
			}
		}
	}
}

var (
	installRule = pattern.Lazy(`^(pnpm|npm|yarn|bun)\s+(-\S+\s+)*(install|i|ci|add|deploy|fetch)\b`)
	buildRule   = pattern.Lazy(`^(pnpm|npm|yarn|bun)\s+(-\S+\s+(\S+\s+)?)*(run\s+)?(-\S+\s+(\S+\s+)?)*(build|compile|generate)\b`)
	systemRule  = pattern.Lazy(`^(apt-get|apt|apk|dnf|yum|curl|wget|pip3?)\b|^npm\s+(install|i)\s+(-\S+\s+)*-g\b|^bun\s+(install|add)\s+-g\b`)
)

// step sorts one command of a stage.
func (p *dockerfileReader) step(s *stage, run located, last bool) {
	switch {
	case systemRule().MatchString(run.text):
		if last && p.out.system.text == "" {
			p.out.system = run
		}
	case installRule().MatchString(run.text):
		if p.out.toolchain.text == "" {
			p.out.toolchain = located{s.base, s.line}
		}
		p.out.ignoreScripts = p.out.ignoreScripts || strings.Contains(run.text, "--ignore-scripts")
	case buildRule().MatchString(run.text) && !strings.ContainsAny(run.text, "$|><\"'`"):
		p.out.builds = append(p.out.builds, strings.Fields(run.text))
	}
}

// words are an argument list, or the words of a shell line that needs no shell.
func words(text string) []string {
	var list []string
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	if strings.ContainsAny(text, "$|&;><\"'`*") {
		return []string{"sh", "-c", text}
	}
	return strings.Fields(text)
}

var variable = pattern.Lazy(`"([A-Za-z_]\w*)=((?:[^"\\]|\\.)*)"|([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)`)

// variables are the assignments of a line: NAME=value NAME="value" "NAME=value".
func variables(line string) []setting {
	var list []setting
	for _, m := range variable().FindAllStringSubmatch(line, -1) {
		list = append(list, setting{m[1] + m[3], m[2] + strings.Trim(m[4], `"'`)})
	}
	if name, value, ok := strings.Cut(line, " "); len(list) == 0 && ok {
		list = append(list, setting{name, strings.TrimSpace(value)})
	}
	return list
}

// script is the file that a command starts, relative to the folder where it runs.
func script(command []string) string {
	for _, word := range command {
		if slices.Contains([]string{".ts", ".js", ".mjs", ".cjs", ".mts", ".tsx"}, path.Ext(word)) {
			return word
		}
	}
	return ""
}
