package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// measureArg makes this program a small process that runs command lines and
// measures them. The kernel counts what a process was before its exec into its
// peak memory, so the parent of what is measured has to be small.
const measureArg = "-measure"

// measured is what running command lines one after the other cost.
type measured struct {
	Start, End time.Time
	MaxRSS     int64 // KiB, of the largest process
	OwnRSS     int64 // KiB, of the largest that was started itself, and not by one of them
	Code       int   // exit code of the first that did not end with 0
	Err        string

	Out *said `json:"-"`
}

func (m measured) took() time.Duration { return m.End.Sub(m.Start) }

// said is what a command printed, piece by piece with its time.
type said struct {
	mu     sync.Mutex
	pieces []piece
}

type piece struct {
	at   time.Time
	text []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces = append(s.pieces, piece{time.Now(), bytes.Clone(p)})
	return len(p), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []byte
	for _, p := range s.pieces {
		all = append(all, p.text...)
	}
	return string(all)
}

// when is the time at which what was said first matched; zero if it never did.
func (s *said) when(re *regexp.Regexp) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []byte
	for _, p := range s.pieces {
		all = append(all, p.text...)
		if re.Match(all) {
			return p.at
		}
	}
	return time.Time{}
}

// measure runs the command lines in a row until one ends with another code than 0.
func measure(ctx context.Context, dir string, env []string, lines [][]string) (*measured, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	plan, err := json.Marshal(lines)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	m := &measured{Out: &said{}}
	cmd := exec.CommandContext(ctx, self, measureArg, string(plan))
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = m.Out, m.Out
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Start()
	_ = write.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	decoded := json.NewDecoder(read).Decode(m)
	if err := cmd.Wait(); err != nil || decoded != nil {
		return nil, fmt.Errorf("measure %q: %w\n%s", lines, errors.Join(context.Cause(ctx), err, decoded), m.Out.String())
	}
	if m.Err != "" {
		return nil, errors.New(m.Err)
	}
	return m, nil
}

// measureMain is the small process: args[0] holds the command lines, file 3
// takes the result.
func measureMain(args []string) int {
	var lines [][]string
	if err := json.Unmarshal([]byte(args[0]), &lines); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	m := measured{Start: time.Now()}
	for _, line := range lines {
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err := cmd.Start()
		if err == nil {
			peak := peakOf(cmd.Process.Pid)
			err = cmd.Wait()
			m.OwnRSS = max(m.OwnRSS, peak())
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			m.Err = err.Error()
			break
		}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			m.MaxRSS = max(m.MaxRSS, int64(usage.Maxrss))
		}
		if m.Code = cmd.ProcessState.ExitCode(); m.Code != 0 {
			break
		}
	}
	m.End = time.Now()
	if err := json.NewEncoder(os.NewFile(3, "result")).Encode(m); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	return 0
}

// peakOf follows the peak memory of a process, which the kernel forgets when it ends: what
// it gives afterwards counts the process's children too. The function that is returned
// ends that and gives the peak, in KiB, as it was at most 10 ms before the end.
func peakOf(pid int) (peak func() int64) {
	stop, last := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
			most = max(most, highWater(string(text)))
			select {
			case <-tick.C:
			case <-stop:
				last <- most
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-last
	}
}

// highWater is the peak memory, in KiB, that a process's status says.
func highWater(status string) int64 {
	_, rest, _ := strings.Cut(status, "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib) // 0 of a process that has ended
	return kib
}
