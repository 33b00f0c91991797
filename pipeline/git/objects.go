package git

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // git names objects by it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MissingObjectError is a file of the commit whose content this clone does not
// hold (a partial clone), or holds damaged.
type MissingObjectError struct{ Path, ID, Reason string }

func (e *MissingObjectError) Error() string {
	return fmt.Sprintf("%s: object %s %s", e.Path, e.ID, e.Reason)
}

// objects reads the blobs of a repository. To start git takes milliseconds, so the
// process that has answered stays for the next request.
type objects struct {
	gitDir string
	turn   chan struct{} // holds one while idle is in use
	idle   *catFile      // nil: none has answered yet, or the last one was ended
}

func newObjects(gitDir string) *objects {
	return &objects{gitDir: gitDir, turn: make(chan struct{}, 1)}
}

// patience is how long a request waits for the process that another one uses: about as
// long as one of its own takes to start. Most are answered sooner; one that is made while
// another is visited never is.
const patience = 3 * time.Millisecond

// take waits for the turn, and gives up soon.
func (o *objects) take() bool {
	select {
	case o.turn <- struct{}{}:
		return true
	case <-time.After(patience):
		return false
	}
}

// blob is the kind of object that a file is.
const blob = "blob"

// batchSize is the number of blobs from which on git buffers its output, which
// needs a process that serves this request only.
const batchSize = 100

// read passes the exact bytes of every file to fn, in order. Each is checked
// against its id; a missing one is a *MissingObjectError. Instead of an id a
// name such as SHA:path will do. fn may itself read.
func (o *objects) read(ctx context.Context, files []File, fn func(f File, size int64, r io.Reader) error) error {
	switch {
	case len(files) == 0:
		return nil
	case len(files) >= batchSize || !o.take():
		cat, err := startCatFile(ctx, o.gitDir, true)
		if err != nil {
			return err
		}
		err = cat.read(ctx, files, fn)
		return errors.Join(err, cat.end(err))
	}
	defer func() { <-o.turn }()
	if o.idle == nil {
		cat, err := startCatFile(context.WithoutCancel(ctx), o.gitDir, false)
		if err != nil {
			return err
		}
		o.idle = cat
	}
	err := o.idle.read(ctx, files, fn)
	if err != nil { // what it still has to say is for nobody
		_ = o.idle.end(err)
		o.idle = nil
	}
	return err
}

// close ends the process that stayed, if there is one.
func (o *objects) close() error {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	if o.idle == nil {
		return nil
	}
	cat := o.idle
	o.idle = nil
	return cat.end(nil)
}

// catFile is a running git that answers with the content of the objects it is
// asked for.
type catFile struct {
	batch    bool // it serves one request, with buffered output
	cmd      *exec.Cmd
	in       io.WriteCloser
	pipe     io.Closer // what out reads
	out      *bufio.Reader
	stderr   bytes.Buffer
	requests sync.WaitGroup // goroutines that write to in
}

func startCatFile(ctx context.Context, gitDir string, batch bool) (*catFile, error) {
	args, buffer := []string{"--git-dir=" + gitDir, "cat-file", "--batch"}, 64<<10
	if batch {
		args, buffer = append(args, "--buffer"), 1<<20
	}
	c := &catFile{batch: batch, cmd: command(ctx, gitDir, args...)}
	c.cmd.Stderr, c.cmd.WaitDelay = &c.stderr, time.Second
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.pipe = out
	c.out = bufio.NewReaderSize(awaited{out, c.kill}, buffer)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	return c, nil
}

func (c *catFile) read(ctx context.Context, files []File, fn func(f File, size int64, r io.Reader) error) error {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	c.requests.Go(func() {
		w := bufio.NewWriter(c.in)
		for _, f := range files {
			_, _ = w.WriteString(f.ID + "\n")
		}
		_ = w.Flush()
		if c.batch {
			_ = c.in.Close() // the end of the input makes git flush its output
		}
	})
	for _, f := range files {
		if err := c.readBlob(f, fn); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

// end ends the process: at once if reading failed, else when it has served its
// requests. It fills in what git itself said of a missing object.
func (c *catFile) end(failed error) error {
	if failed != nil {
		c.kill()
	}
	_ = c.in.Close()
	c.requests.Wait()
	err := c.cmd.Wait()
	var missing *MissingObjectError
	switch {
	case errors.As(failed, &missing) && missing.Reason == endOfStream:
		missing.Reason = "cannot be read: " + lastLine(c.stderr.String())
		return nil
	case failed != nil || err == nil:
		return nil
	}
	return fmt.Errorf("git cat-file: %s", lastLine(c.stderr.String()))
}

const endOfStream = "ended"

// kill ends the process, and what waits for its output: another process that it
// started may hold that open.
func (c *catFile) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.pipe.Close()
}

var errSilent = fmt.Errorf("git cat-file says nothing for %s: it or its disk hangs", silenceLimit)

// awaited is the output of a process that is killed when nothing comes any more.
type awaited struct {
	io.Reader
	kill func()
}

func (a awaited) Read(p []byte) (int, error) {
	timer := time.AfterFunc(silenceLimit, a.kill)
	n, err := a.Reader.Read(p)
	if !timer.Stop() && err != nil {
		err = errSilent
	}
	return n, err
}

func (c *catFile) readBlob(f File, fn func(File, int64, io.Reader) error) error {
	head, err := c.out.ReadString('\n')
	if errors.Is(err, errSilent) {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if err != nil {
		return &MissingObjectError{Path: f.Path, ID: f.ID, Reason: endOfStream}
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[1] != cmp.Or(f.kind, blob) {
		return &MissingObjectError{Path: f.Path, ID: f.ID, Reason: "is missing from this clone"}
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fmt.Errorf("read %s: git said %q", f.Path, head)
	}
	id := fields[0]
	if !strings.Contains(f.ID, ":") {
		id = f.ID
	}
	sum := objectHash(fields[1], id, size)
	body := io.TeeReader(io.LimitReader(c.out, size), sum)
	if err := fn(f, size, body); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != id {
		return &MissingObjectError{Path: f.Path, ID: id, Reason: "is damaged: its bytes are those of " + got}
	}
	_, err = c.out.Discard(1)
	return err
}

// objectHash is the hash that names an object of that kind and size, as long as id.
func objectHash(kind, id string, size int64) hash.Hash {
	sum := sha1.New() //nolint:gosec // git names objects by it
	if len(id) == 2*sha256.Size {
		sum = sha256.New()
	}
	fmt.Fprintf(sum, "%s %d\x00", kind, size)
	return sum
}
