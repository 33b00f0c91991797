package main

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md and docs/man")

// example matches one example of a help text, without the comment and what its output
// is piped into.
var example = regexp.MustCompile(`^.*?\b(shipit(?: [^|>#)]+?)?)(?:\).*|  .*| [|>].*)?$`)

// commands are all commands of the command line; the first is shipit itself.
func commands() []*cobra.Command {
	root := newRoot(&globals{})
	root.InitDefaultHelpCmd()
	var all []*cobra.Command
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if c.Name() != "help" {
			all = append(all, c)
		}
	}
	return all
}

func TestHelp(t *testing.T) {
	require.Len(t, exitsOf(), len(commands())-1, "a command without exit codes, or exit codes without a command")
	for _, c := range commands() {
		t.Run(c.CommandPath()+" has two examples that parse, and its exit codes", func(t *testing.T) {
			require.Regexp(t, `Exit codes:\n    0  \S.*\n    1  unexpected error\n    2  `, c.Long)
			if c.HasParent() {
				require.Contains(t, exitsOf(), c.Name())
			}
			lines := strings.Split(c.Example, "\n")
			require.GreaterOrEqual(t, len(lines), 2)
			for _, line := range lines {
				parts := example.FindStringSubmatch(line)
				require.NotNil(t, parts, line)
				args, err := shlex.Split(parts[1])
				require.NoError(t, err, line)
				root := newRoot(&globals{})
				found, rest, err := root.Find(args[1:])
				require.NoError(t, err, line)
				require.True(t, !c.HasParent() || found.Name() == c.Name(), "an example of another command: %s", line)
				require.NoError(t, found.ParseFlags(rest), line)
				require.NoError(t, found.ValidateArgs(found.Flags().Args()), line)
			}
			for _, line := range strings.Split(c.Long, "\n") {
				require.LessOrEqual(t, len([]rune(line)), 92, line)
			}
		})
	}
}

// exitTable matches the exit codes of a help text, which Markdown would join.
var exitTable = regexp.MustCompile(`Exit codes:\n((?: +\d+  .*\n)+)`)

// TestCLIDoc holds docs/cli.md and the manual pages to the commands.
func TestCLIDoc(t *testing.T) {
	var page bytes.Buffer
	page.WriteString("# The command line\n\nThis file is generated from the commands: `go test ./cmd/shipit -run TestCLIDoc -update` writes it, and the manual\npages in [docs/man](man).\n\n")
	for _, c := range commands() {
		var text bytes.Buffer
		require.NoError(t, doc.GenMarkdownCustom(c, &text, func(name string) string { return name }))
		kept, _, _ := strings.Cut(text.String(), "### SEE ALSO")
		if c.HasParent() {
			kept, _, _ = strings.Cut(kept, "### Options inherited")
		}
		kept = exitTable.ReplaceAllString(kept, "Exit codes:\n\n```\n$1```\n")
		page.WriteString(strings.TrimSpace(strings.ReplaceAll(kept, "### ", "#### ")) + "\n\n")
		header := &doc.GenManHeader{Title: strings.ToUpper(strings.ReplaceAll(c.CommandPath(), " ", "-")), Section: "1", Source: "shipit", Manual: "shipit", Date: &time.Time{}}
		c.DisableAutoGenTag = true
		var man bytes.Buffer
		require.NoError(t, doc.GenMan(c, header, &man))
		pageOf := strings.ReplaceAll(man.String(), "Jan 0001", "")
		holds(t, filepath.Join("../../docs/man", strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"), pageOf)
	}
	holds(t, "../../docs/cli.md", page.String())
}

// holds compares a file with what is generated; -update writes it.
func holds(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, want == string(data), "%s is not up to date: `go test ./cmd/shipit -run TestCLIDoc -update` writes it", file)
}

// Cobra needs text/template only where a command sets a template. With it the linker
// keeps every method of every type, and the program is 56 MB instead of 46.
func TestNoCommandSetsATemplate(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotRegexp(t, `\.Set(Usage|Help|Version)Template\(`, string(text), file)
	}
}

func TestTheVersionNamesCommitAndGo(t *testing.T) {
	got := shipit(t, "--version")
	require.Equal(t, exitOK, got.code, got.err)
	require.Regexp(t, `^shipit version \S+ \(commit [^)]+, go1\.\d+(\.\d+)?\)\n$`, got.out)
}

func TestShellsAreToldWhatThereIs(t *testing.T) {
	repo := sample.New(t, sample.Options{})
	suggested := func(args ...string) string {
		got := shipit(t, append([]string{"__complete", "-C", repo.Dir}, args...)...)
		require.Equal(t, exitOK, got.code, got.err)
		return got.out
	}
	require.Contains(t, suggested("render", "--role", ""), "cluster\tworker, kubernetes\n")
	require.Contains(t, suggested("release", "--allow", "FieldC"), "FieldConflict\t")
	require.Contains(t, suggested("explain", "images."), "images.*\t")
	repo.Commit("environments", map[string]string{"shipit.yaml": repo.Read("shipit.yaml") + "environments: {staging: {}, production: {}}\n"})
	require.Contains(t, suggested("promote", ""), "production\nstaging\n")
	require.Contains(t, suggested("promote", "staging", "pro"), "production\n")
	require.NotContains(t, suggested("promote", "staging", "production", ""), "staging")
	require.NotContains(t, suggested("explain", "images.", "images."), "images.*", "explain takes one argument")
	require.Contains(t, suggested("release", "HEAD", "--allow", "FieldC"), "FieldConflict\t", "a flag may follow an argument")
	require.Contains(t, suggested("promote", "staging", "production", "--allow", "FieldC"), "FieldConflict\t")
	require.Contains(t, suggested("render", "HEAD", "--env", "pro"), "production\n")
	require.Contains(t, suggested("status", "-o", ""), "json\n")
	require.NotContains(t, suggested("rollback", "--to", ""), "Error", "without a cluster there is nothing to suggest")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := shipit(t, "completion", shell)
		require.Equal(t, exitOK, got.code, got.err)
		if _, err := exec.LookPath(shell); err == nil && shell != "fish" {
			cmd := exec.Command(shell, "-n")
			cmd.Stdin = strings.NewReader(got.out)
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, string(said))
		}
	}
	require.Equal(t, exitUsage, shipit(t, "completion", "csh").code)
}

func TestACompletionIsNotTraced(t *testing.T) {
	sent := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent++ }))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	require.Equal(t, exitOK, shipit(t, "explain", "CrashLoop").code)
	require.Equal(t, 1, sent, "a command is")
	for _, name := range []string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd} {
		require.Equal(t, exitOK, shipit(t, name, "explain", "Cra").code)
	}
	require.Equal(t, 1, sent)
}
