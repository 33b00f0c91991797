package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

// documented is one command line that a page of the documentation gives.
type documented struct {
	page   string // from the root of the repository
	line   string
	block  string // the language of its fenced block; "" for a line of text
	number int    // of the line in the page
}

func (d documented) String() string { return fmt.Sprintf("%s:%d: %s", d.page, d.number, d.line) }

// generatedPages are held to the commands and settings by the tests that write them.
var generatedPages = []string{"docs/cli.md", "docs/codes.md", "docs/config.md"}

var (
	inlineCommand = regexp.MustCompile("`((?:shipit|make) [^`]+)`")
	madeTarget    = regexp.MustCompile(`^make ([a-z]+)`)
	// shipitWords are the words of a call of shipit within a command line.
	shipitWords = regexp.MustCompile(`(?:^|[;&|(]\s*|\$\()(?:\./)?(shipit(?: (?:'[^']*'|"[^"]*"|[^;&|)>'"#])*)?)`)
)

// documentedCommands are the command lines of all pages: those of blocks for a shell, the
// lines of sessions that begin with $, and what is called shipit or make in the text.
func documentedCommands(t *testing.T) []documented {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	var all []documented
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		name := strings.TrimPrefix(page, "../../")
		if slices.Contains(generatedPages, name) {
			continue
		}
		data, err := os.ReadFile(page)
		require.NoError(t, err)
		all = append(all, commandsOf(name, string(data))...)
	}
	return all
}

func commandsOf(page, text string) []documented {
	var all []documented
	fenced, block := false, ""
	for i, line := range strings.Split(text, "\n") {
		add := func(command string) { all = append(all, documented{page, strings.TrimSpace(command), block, i + 1}) }
		command, typed := strings.CutPrefix(line, "$ ")
		indented, isIndented := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			fenced, block = !fenced, strings.TrimPrefix(line, "```")
		case fenced && block == "console" && typed, fenced && block == "sh" && line != "" && !strings.HasPrefix(line, "#"):
			add(command)
		case !fenced && isIndented && regexp.MustCompile(`^(shipit|make|cd|go|git) `).MatchString(indented):
			block = "sh"
			add(indented)
			block = ""
		case !fenced:
			for _, found := range inlineCommand.FindAllStringSubmatch(line, -1) {
				add(found[1])
			}
		}
	}
	return all
}

// TestEveryDocumentedCommandIsOne holds every call of shipit in the documentation to the
// commands, flags and numbers of arguments that there are, and every make to its target.
func TestEveryDocumentedCommandIsOne(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	all := documentedCommands(t)
	require.Greater(t, len(all), 60)
	for _, d := range all {
		if target := madeTarget.FindStringSubmatch(d.line); target != nil {
			require.Regexp(t, `(?m)^`+target[1]+`:`, string(makefile), "%s", d)
		}
		line := d.line
		if d.block == "" {
			line = oneOf(line)
		}
		for _, found := range shipitWords.FindAllStringSubmatch(line, -1) {
			parses(t, d.String(), found[1])
		}
	}
}

// oneOf is a call of a text that shows in brackets what may be left out, and choices.
func oneOf(line string) string {
	line = strings.NewReplacer("[", "", "]", "", "…", "").Replace(line)
	return regexp.MustCompile(`\\?\|[^ ]*`).ReplaceAllString(line, "")
}

// parses holds the words of a call to the command line.
func parses(t *testing.T, where, words string) {
	t.Helper()
	args, err := shlex.Split(words)
	require.NoError(t, err, where)
	root := newRoot(&globals{})
	root.InitDefaultHelpCmd()
	found, rest, err := root.Find(args[1:])
	require.NoError(t, err, where)
	require.NoError(t, found.ParseFlags(rest), where)
	if !found.HasParent() {
		require.Empty(t, found.Flags().Args(), where)
		return
	}
	require.NoError(t, found.ValidateArgs(found.Flags().Args()), where)
}

func TestACommandThatIsNoneIsFoundInAPage(t *testing.T) {
	page := "Call `shipit release [REV]`.\n\n```sh\nmake demo && shipit plan --exit-code | cat\n# shipit nothing\n```\n\n```console\n$ shipit status\nshipit: drift\n```\n\n    shipit check\n"
	var lines []string
	for _, d := range commandsOf("page.md", page) {
		lines = append(lines, d.line)
	}
	require.Equal(t, []string{"shipit release [REV]", "make demo && shipit plan --exit-code | cat", "shipit status", "shipit check"}, lines)
	require.Equal(t, "shipit plan --exit-code ", shipitWords.FindStringSubmatch(lines[1])[1])
	for _, wrong := range []string{"shipit frobnicate", "shipit status --frob", "shipit withdraw"} {
		root := newRoot(&globals{})
		found, rest, err := root.Find(strings.Fields(wrong)[1:])
		require.True(t, err != nil || found.ParseFlags(rest) != nil || found.ValidateArgs(found.Flags().Args()) != nil, wrong)
	}
}

// ranBy says of the blocks of a page, by their language, which test types them; of the
// others why none does.
func ranBy() map[string]string {
	return map[string]string{
		"docs/runbook.md console": "TestRunbook",
		"README.md sh":            "TestReadme, which skips by name what it leaves out",
		"README.md console":       "TestTheDemo, which holds the session of the first screen to what it prints",
		"docs/dagger.md sh":       "not run by make test: it needs an engine, which `make dagger` and the workflow dagger.yml have; TestEveryDocumentedCommandIsOne parses it",
		"docs/benchmarks.md sh":   "not run: it takes a quarter of an hour, and builds other tools from the network; `make bench` is run by hand",
		"docs/environments.md sh": "TestEveryExampleRuns",
	}
}

// TestEveryBlockIsTypedByATest names the blocks for a shell that no test types, and why.
func TestEveryBlockIsTypedByATest(t *testing.T) {
	known, used := ranBy(), map[string]bool{}
	left := map[string]string{} // what is not run, and why
	for _, d := range documentedCommands(t) {
		if d.block == "" {
			continue
		}
		key := d.page + " " + d.block
		by := known[key]
		used[key] = true
		require.NotEmpty(t, by, "no test types this: name it in ranBy, with the reason: %s", d)
		if strings.HasPrefix(by, "not run") {
			left[d.page] = by
		}
	}
	for page, why := range left {
		t.Run(page, func(t *testing.T) { t.Skip(why) })
	}
	for key := range known {
		require.True(t, used[key], "the documentation has no longer: %s", key)
	}
}

// TestTheConfigurationsOfThePagesParse holds every shipit.yaml that a page shows whole to
// the parser. What a page leaves out of it, by …, is filled in.
func TestTheConfigurationsOfThePagesParse(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	fill := strings.NewReplacer("sha256:…", "sha256:"+strings.Repeat("0", 64), ", …}", ", package: packages/worker, base: scratch}")
	parsed := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)```yaml\n(app: .*?)```").FindAllStringSubmatch(string(text), -1) {
			_, err := config.Parse("shipit.yaml", []byte(fill.Replace(block[1])), "")
			require.NoError(t, err, "%s:\n%s", page, block[1])
			parsed++
		}
	}
	require.Greater(t, parsed, 1)
}
