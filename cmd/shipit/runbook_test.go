package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/faults"
	"github.com/joelhooks/shipit/internal/transcript"
)

const runbookPage = "../../docs/runbook.md"

// TestRunbook brings about every situation of docs/runbook.md, types the commands that
// the page gives for it, and holds what the page shows to what they print. -update
// writes what they print into the page.
func TestRunbook(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	data, err := os.ReadFile(runbookPage)
	require.NoError(t, err)
	page, all := string(data), situations()
	g := simulated(t)
	var writing sync.Mutex
	for _, found := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(page, -1) {
		heading := found[1]
		s, known := all[heading]
		require.True(t, known, "no test brings about %q", heading)
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			if s.skip != nil {
				if why := s.skip(); why != "" {
					t.Skip(why)
				}
			}
			said := g.walk(t, s, sectionOf(page, heading))
			if *update {
				writing.Lock()
				defer writing.Unlock()
				data, err := os.ReadFile(runbookPage)
				require.NoError(t, err)
				now := strings.Replace(string(data), sectionOf(string(data), heading), said, 1)
				require.NoError(t, os.WriteFile(runbookPage, []byte(now), 0o644))
			}
		})
	}
}

// TestTheRunbookHasEverySituation holds the page to the situations that there are.
func TestTheRunbookHasEverySituation(t *testing.T) {
	data, err := os.ReadFile(runbookPage)
	require.NoError(t, err)
	for heading := range situations() {
		require.Contains(t, string(data), "\n## "+heading+"\n")
	}
}

// sectionOf is the section of a page under a heading.
func sectionOf(page, heading string) string {
	start := strings.Index(page, "\n## "+heading+"\n") + 1
	if end := strings.Index(page[start:], "\n## "); end >= 0 {
		return page[start : start+end]
	}
	return page[start:]
}

// situation is how a section's world comes about, and what happens in it between the
// commands that the section gives.
type situation struct {
	skip func() string // why it cannot be brought about here; "" if it can; nil: it always can
	make func(*walk)
}

// walk is one situation while its commands are typed.
type walk struct {
	*shop
	registry, api *faults.Proxy
	before        map[int]func()     // what happens before a command, by its number in the section, from 1
	during        map[int]awaitedFor // what happens while it runs
	names         map[string]string  // what stands in the page for a name of this run
	typed         int
}

// awaitedFor is what happens to a command once it has said something.
type awaitedFor struct {
	says string
	then func(*exec.Cmd)
}

var shownBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// walk types the commands of a section, and returns the section with what they print.
// Without -update a difference is an error.
func (g ground) walk(t *testing.T, s situation, section string) string {
	w := g.newWalk(t)
	s.make(w)
	said := shownBlock.ReplaceAllStringFunc(section, func(block string) string {
		var out strings.Builder
		for _, line := range strings.Split(shownBlock.FindStringSubmatch(block)[1], "\n") {
			if strings.HasPrefix(line, "$ ") {
				out.WriteString(line + "\n" + w.types(line[2:]))
			}
		}
		return "```console\n" + out.String() + "```"
	})
	require.Positive(t, w.typed, "the section has no command")
	want, got := transcript.Masked(section), transcript.Masked(said)
	if *update && want != got {
		return said
	}
	require.Equal(t, want, got, "docs/runbook.md is not what shipit prints: `go test ./cmd/shipit -run TestRunbook -update` writes it")
	return section
}

// newWalk is an app that has been released twice, as 1.0.0 and 2.0.0, and whose registry
// and API server are reached by proxies. HEAD is 3.0.0, which crashes when it starts.
func (g ground) newWalk(t *testing.T) *walk {
	t.Helper()
	through, registry, api := g.proxied(t)
	name := "rb" + regexp.MustCompile(`[^a-z]`).ReplaceAllString(strings.ToLower(filepath.Base(t.Name())), "")
	w := &walk{shop: through.shop(t, name), registry: registry, api: api, before: map[int]func(){}, during: map[int]awaitedFor{}}
	w.names = map[string]string{
		name: "busrig", through.registry: "registry.example.com", api.URL: "https://cluster.example.com", w.repo.Dir: "~/busrig",
	}
	for tag, commit := range map[string]string{"v1.0.0": "v1", "v2.0.0": "v2", "v3.0.0": "broken"} {
		w.repo.Git("tag", tag, w.sha[commit])
	}
	config := filepath.Join(t.TempDir(), "gitconfig")
	require.NoError(t, os.WriteFile(config, []byte("[user]\n\tname = somebody\n\temail = somebody@example.com\n"), 0o644))
	w.env = append(w.env, "GIT_CONFIG_GLOBAL="+config)
	w.does(0, "release", "v1.0.0")
	w.does(0, "release", "v2.0.0")
	return w
}

// holder is who holds a lock: the user and the machine that the test runs on.
var holder = regexp.MustCompile(`\b[\w.-]+@[\w.-]+( pid \d+ run)`)

// types runs a command line in the repository, and returns what it prints, with its exit
// code if that is not 0.
func (w *walk) types(line string) string {
	w.t.Helper()
	w.typed++
	if f := w.before[w.typed]; f != nil {
		f()
	}
	for of, in := range w.names {
		line = strings.ReplaceAll(line, in, of)
	}
	if !strings.ContainsAny(line, "|&;") {
		line = "exec " + line // so that a signal reaches the command itself
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = w.repo.Dir, w.env
	out := &awaited{}
	if d := w.during[w.typed]; d.then != nil {
		out.text, out.seen = d.says, func() { d.then(cmd) }
	}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	require.Nil(w.t, out.seen, "it never said %q:\n%s", out.text, out.all.String())
	text := out.all.String()
	for of, in := range w.names {
		text = strings.ReplaceAll(text, of, in)
	}
	text = holder.ReplaceAllString(text, "ann@laptop$1")
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return text + "[" + exit.Error() + "]\n"
	case errors.As(err, &exit):
		return text + fmt.Sprintf("[exit code %d]\n", exit.ExitCode())
	}
	require.NoError(w.t, err)
	return text
}
