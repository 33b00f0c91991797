package machine

import (
	"context"
	"io"
	"net"
	"path"
	"slices"
	"strings"
	"time"
)

// Command is a program and its words, as data. No word is ever read by a shell:
// scripts take what varies as arguments.
type Command struct {
	Argv           []string
	Stdin          io.Reader     // nil: empty
	AllowExitCodes []int         // exit codes that are as good as 0
	Retry          []int         // exit codes that pass by themselves
	Limit          time.Duration // of running it once; default readLimit or changeLimit
}

// Result is what a command printed, and its exit code.
type Result struct {
	Stdout string // its first 8 MiB
	Stderr string // its first 16 KiB
	Exit   int
}

// transport runs commands on a machine and opens connections there.
type transport interface {
	// run returns an error if the command could not be run to its end; an exit
	// code is no error.
	run(ctx context.Context, cmd Command) (Result, error)
	// dial opens a TCP connection from the machine to an address as it sees it.
	dial(ctx context.Context, addr string) (net.Conn, error)
	alive() bool
	close() error
}

// Script is a command that runs a POSIX shell script; args are its $1, $2, ….
func Script(body string, args ...string) Command {
	return Command{Argv: append([]string{"sh", "-c", body, "sh"}, args...)}
}

// With is the command reading its input from r.
func (c Command) With(r io.Reader) Command {
	c.Stdin = r
	return c
}

func (c Command) tolerates(exit int) bool { return slices.Contains(c.AllowExitCodes, exit) }
func (c Command) transient(exit int) bool { return slices.Contains(c.Retry, exit) }

// program names the command in messages, without its words: they may be long,
// or secret.
func (c Command) program() string {
	if len(c.Argv) == 0 {
		return "nothing"
	}
	name := path.Base(c.Argv[0])
	if len(c.Argv) > 1 && (name == "systemctl" || name == "launchctl") {
		for _, word := range c.Argv[1:] {
			if !strings.HasPrefix(word, "-") {
				return name + " " + word
			}
		}
	}
	return name
}

// line is the command as one line for a login shell: every word in single
// quotes, in which a POSIX shell reads nothing but the closing quote. The
// locale is fixed because messages are read.
func (c Command) line() string {
	words := make([]string, 0, len(c.Argv)+2)
	words = append(words, "env", "LC_ALL=C")
	for _, w := range c.Argv {
		words = append(words, Quote(w))
	}
	return strings.Join(words, " ")
}

// Quote is the word in single quotes, for a POSIX shell.
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

const (
	stdoutCap = 8 << 20
	stderrCap = 16 << 10
)

// Lines are those of what a command printed that are not blank.
func Lines(printed string) []string {
	var out []string
	for _, l := range strings.Split(printed, "\n") {
		if strings.TrimSpace(l) != "" {
			out = append(out, strings.TrimRight(l, "\r"))
		}
	}
	return out
}

// capped stores the first bytes that are written to it and drops the rest, so that a
// program that prints a lot can neither block nor fill the memory.
type capped struct {
	limit int
	text  strings.Builder
}

func (c *capped) Write(p []byte) (int, error) {
	if free := c.limit - c.text.Len(); free > 0 {
		c.text.Write(p[:min(free, len(p))])
	}
	return len(p), nil
}
