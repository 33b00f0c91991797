package live

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
)

func drawn(messages ...tea.Msg) []string {
	var m tea.Model = model{now: func() time.Time { return time.Unix(100, 0) }}
	for _, msg := range messages {
		m, _ = m.Update(msg)
	}
	return strings.Split(ansi.Strip(m.View().Content), "\n")
}

func TestStepsAreDrawnUntilTheyEnd(t *testing.T) {
	build, wait := step{"build/", "build worker", time.Unix(97, 0)}, step{"wait/cluster", "cluster 1/3", time.Unix(40, 0)}
	require.Equal(t, []string{"⠋ build worker 3.0s", "⠋ cluster 1/3 1m0s"}, drawn(build, wait))
	require.Equal(t, []string{"⠙ cluster 2/3 1m0s"}, drawn(build, wait, drop("build/"), step{"wait/cluster", "cluster 2/3", time.Unix(99, 0)}, tick{}))
	require.Equal(t, []string{"a text", "⠋ cluster 1/3 1m0s"}, drawn(replace("a text\n"), wait))
	require.Equal(t, []string{""}, drawn(build, wait, clearSteps{}))
}

func TestWhatIsDrawnFitsATerminalOfAnySize(t *testing.T) {
	messages := []tea.Msg{replace(strings.Repeat("a long line ", 30)), tea.WindowSizeMsg{Width: 40, Height: 5}}
	for i := range 10 {
		messages = append(messages, step{string(rune('a' + i)), strings.Repeat("gateway sha256 ", 10), time.Unix(97, 0)})
	}
	lines := drawn(messages...)
	require.Len(t, lines, 4)
	for _, line := range lines {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 40, line)
		require.Contains(t, line, " 3.0s")
	}
	for _, line := range drawn(append(messages, tea.WindowSizeMsg{Width: 10, Height: 3})...) {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 10, line)
	}
}

// locked is a buffer that the program writes to and the test reads.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestAScreenPrintsLinesOnceAndAsksTheTerminalNothing(t *testing.T) {
	var out locked
	s := open(&out, tea.WithWindowSize(80, 24), tea.WithEnvironment([]string{"TERM=xterm-256color"}))
	s.Step("build/", "build worker", time.Now())
	require.Eventually(t, func() bool { return strings.Contains(ansi.Strip(out.String()), "build worker") }, time.Minute, time.Millisecond)
	s.Drop("build/")
	s.Print("✓ built worker")
	s.Print("✓ pushed worker")
	s.Close()
	text := out.String()
	require.Equal(t, 1, strings.Count(ansi.Strip(text), "✓ built worker"), "%q", text)
	require.Equal(t, 1, strings.Count(ansi.Strip(text), "✓ pushed worker"), "%q", text)
	require.NotContains(t, text, "\x1b[?2026$p", "a question whose answer nobody reads")
	require.NotContains(t, text, "\x1b[c")
	require.NotContains(t, text, "\x1b]11;?")
}
