// Package live draws on a terminal what changes: steps that are under way, each with
// its time, below lines that stay; or a text that is replaced as a whole.
package live

import (
	"io"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/joelhooks/shipit/release"
)

// Screen is the lower end of a terminal, below what was printed. It reads no keys and
// handles no signals. Its methods may be called from several goroutines, none of them
// after Close.
type Screen struct {
	program *tea.Program
	ended   chan struct{}
}

// Open begins to draw on a terminal.
func Open(w io.Writer) *Screen { return open(w) }

func open(w io.Writer, more ...tea.ProgramOption) *Screen {
	options := append([]tea.ProgramOption{tea.WithInput(nil), tea.WithOutput(w), tea.WithoutSignalHandler(), tea.WithFPS(15)}, more...)
	s := &Screen{program: tea.NewProgram(model{now: time.Now}, options...), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_, _ = s.program.Run() // if the terminal is gone there is nobody to draw for
	}()
	return s
}

// Step shows a step as under way since a time, or replaces its text.
func (s *Screen) Step(key, text string, since time.Time) { s.program.Send(step{key, text, since}) }

// Drop takes a step away.
func (s *Screen) Drop(key string) { s.program.Send(drop(key)) }

// Text replaces the text that stands above the steps.
func (s *Screen) Text(text string) { s.program.Send(replace(text)) }

// Print writes a line that stays, above everything else.
func (s *Screen) Print(line string) { s.program.Println(line) }

// Close takes away what is not to stay and gives the terminal back. The text stays.
func (s *Screen) Close() {
	s.program.Send(clearSteps{})
	s.program.Quit()
	<-s.ended
}

// step is one that is under way; it is a message too.
type step struct {
	key, text string
	since     time.Time
}

type (
	drop       string // the key of a step
	replace    string // the text
	clearSteps struct{}
	tick       struct{}
)

// model is what is drawn.
type model struct {
	text          string
	steps         []step
	width, height int
	frame         int
	now           func() time.Time
}

// frameTime is how long one picture of the spinner stands.
const frameTime = 120 * time.Millisecond

func next() tea.Cmd { return tea.Tick(frameTime, func(time.Time) tea.Msg { return tick{} }) }

// Init starts the spinner.
func (m model) Init() tea.Cmd { return next() }

// Update is the model after a message.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case replace:
		m.text = string(msg)
	case drop:
		m.steps = slices.DeleteFunc(slices.Clone(m.steps), func(s step) bool { return s.key == string(msg) })
	case clearSteps:
		m.steps = nil
	case step:
		m.steps = slices.Clone(m.steps)
		if i := slices.IndexFunc(m.steps, func(s step) bool { return s.key == msg.key }); i >= 0 {
			m.steps[i].text = msg.text
		} else {
			m.steps = append(m.steps, msg)
		}
	case tick:
		m.frame++
		return m, next()
	}
	return m, nil
}

// View is the text and the steps, no line wider and no more of them than there is room
// for: of the steps the newest.
func (m model) View() tea.View {
	var lines []string
	if m.text != "" {
		lines = strings.Split(strings.TrimRight(m.text, "\n"), "\n")
	}
	spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	for _, s := range m.steps {
		took := " " + release.Took(m.now().Sub(s.since).Truncate(100*time.Millisecond))
		line := string(spinner[m.frame%len(spinner)]) + " " + s.text
		if m.width > 0 {
			line = ansi.Truncate(line, max(m.width-len(took), 1), "…")
		}
		lines = append(lines, line+took)
	}
	if m.height > 1 && len(lines) >= m.height {
		lines = lines[len(lines)-m.height+1:]
	}
	if m.width > 0 {
		for i := range lines {
			lines[i] = ansi.Truncate(lines[i], m.width, "…")
		}
	}
	return tea.NewView(strings.Join(lines, "\n"))
}
