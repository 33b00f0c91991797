package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// beside stands before the command that runs at the same time as a run.
const beside = "--beside"

// runWith runs go test, and the command beside it if there is one. Tests that failed are run
// again when that has ended: alone. The exit code is 0 if both pass.
func (p *printer) runWith(args []string, errs io.Writer) int {
	ended := func() int { return 0 }
	if i := slices.Index(args, beside); i >= 0 {
		ended = start(args[i+1:], p.out, errs)
		args = args[:i]
	}
	code, o := goTest(args, p, errs)
	other := ended()
	if code != 0 {
		code = p.again(o, code, errs)
	}
	if code == 0 {
		return other
	}
	return code
}

// start runs a command, of which both outputs are printed. What it returns waits for the
// command's end and gives its exit code.
func start(argv []string, out, errs io.Writer) (ended func() int) {
	if len(argv) == 0 {
		fmt.Fprintln(errs, "gotest: no command follows", beside)
		return func() int { return 2 }
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	said := &wholeLines{to: out}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(errs, "gotest:", err)
		return func() int { return 1 }
	}
	return func() int {
		err := cmd.Wait()
		said.end()
		if err == nil {
			return 0
		}
		fmt.Fprintf(errs, "gotest: %s: %v\n", strings.Join(argv, " "), err)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return exit.ExitCode()
		}
		return 1
	}
}

// turns is a writer for several at once: each text stays in one piece.
type turns struct {
	mu sync.Mutex
	to io.Writer
}

func (t *turns) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.to.Write(text)
}

// wholeLines hands on what it is given once a line has ended.
type wholeLines struct {
	to   io.Writer
	part []byte
}

func (w *wholeLines) Write(text []byte) (int, error) {
	w.part = append(w.part, text...)
	if end := bytes.LastIndexByte(w.part, '\n') + 1; end > 0 {
		if _, err := w.to.Write(w.part[:end]); err != nil {
			return 0, err
		}
		w.part = w.part[end:]
	}
	return len(text), nil
}

// end hands on a last line that has no end.
func (w *wholeLines) end() {
	if len(w.part) > 0 {
		_, _ = w.to.Write(append(w.part, '\n'))
	}
}
