// Command gotest runs `go test` with the arguments that it is given, prints what
// go test prints, and at the end every test that was skipped, by name and reason.
// Several runs are separated by "--"; the first that fails is the last. The exit
// code is that of go test. Of a run in which up to three tests failed, each of them is
// run once more, alone: one that passes then failed by chance. It is named at the end, to be mended.
//
// What follows "--beside" in a run is a command that runs at the same time. Its lines are
// printed as they come, its end is waited for, and if it fails, the run does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	// Ctrl-C reaches go test too, which is in the same process group: its end is waited for.
	// Ignoring the signals instead would make go test ignore them as well.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	p := &printer{out: &turns{to: out}}
	code := 0
	for len(args) > 0 && code == 0 {
		next := args
		args = nil
		if i := slices.Index(next, "--"); i >= 0 {
			next, args = next[:i], next[i+1:]
		}
		code = p.runWith(next, errs)
	}
	p.list("skipped", p.skipped)
	p.list("failed once, and passed when they were run again alone", p.chance)
	return code
}

// goTest runs go test one time and returns its exit code, and what became of the tests.
func goTest(args []string, p *printer, errs io.Writer) (int, *outcomes) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = errs
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(errs, "gotest:", err)
		return 1, &outcomes{}
	}
	o := p.read(stdout)
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0, o
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), o
	default:
		fmt.Fprintln(errs, "gotest:", err)
		return 1, &outcomes{}
	}
}

// event is a line of `go test -json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
}

// printer prints what go test without -v would, and collects the skipped tests.
type printer struct {
	out     io.Writer
	lines   map[string][]line // by package, until it ends
	skipped []string
	chance  []string // failed once, passed alone
}

// line is a line of output and the test that wrote it.
type line struct{ test, text string }

func (p *printer) read(r io.Reader) *outcomes {
	p.lines = map[string][]line{}
	o := &outcomes{whole: map[string]bool{}}
	failed := map[string]bool{}
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		var e event
		switch {
		case text == "" && err != nil:
			return o
		case json.Unmarshal([]byte(text), &e) != nil:
			fmt.Fprint(p.out, text) // go itself has something to say
			continue
		}
		o.take(e)
		switch {
		case e.Action == "build-output":
			fmt.Fprint(p.out, e.Output)
		case e.Action == "output":
			p.lines[e.Package] = append(p.lines[e.Package], line{e.Test, e.Output})
		case e.Action == "skip" && e.Test != "":
			p.skipped = append(p.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, p.reason(e.Package, e.Test)))
		case e.Action == "fail" && e.Test != "":
			failed[e.Package+" "+e.Test] = true
		case e.Test == "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
			p.end(e.Package, e.Action == "fail", failed)
		}
	}
}

// end prints what a package wrote, once it has ended: if it passed its result
// alone, otherwise the output of the tests that failed.
func (p *printer) end(pkg string, fails bool, failed map[string]bool) {
	var said strings.Builder // in one piece: a command may print beside it
	for _, l := range p.lines[pkg] {
		switch {
		case isFrame(l.text):
		case l.test != "":
			// A test that never ended is one that the process died in.
			if ended := p.ended(pkg, l.test); fails && (failed[pkg+" "+l.test] || !ended) {
				said.WriteString(l.text)
			}
		case fails && l.text != "PASS\n" || strings.HasPrefix(l.text, "ok  \t") || strings.HasPrefix(l.text, "?   \t"):
			said.WriteString(l.text)
		}
	}
	fmt.Fprint(p.out, said.String())
	delete(p.lines, pkg)
}

// isFrame reports whether a line only says which test goes on.
func isFrame(text string) bool {
	return slices.ContainsFunc([]string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "}, func(f string) bool { return strings.HasPrefix(text, f) })
}

func (p *printer) ended(pkg, test string) bool {
	return slices.ContainsFunc(p.lines[pkg], func(l line) bool {
		return l.test == test && strings.HasPrefix(strings.TrimLeft(l.text, " "), "--- ")
	})
}

// reason is what a skipped test wrote, in one line.
func (p *printer) reason(pkg, test string) string {
	var parts []string
	for _, l := range p.lines[pkg] {
		if text := strings.TrimSpace(l.text); l.test == test && !isFrame(l.text) && text != "" && !strings.HasPrefix(text, "--- SKIP") {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "no reason given"
	}
	return strings.Join(parts, " ")
}

// list prints names with what they are.
func (p *printer) list(what string, names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(p.out, "\n%d %s:\n", len(names), what)
	for _, s := range names {
		fmt.Fprintln(p.out, "  "+s)
	}
}
