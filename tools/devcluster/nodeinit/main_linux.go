// Command nodeinit is the first process of a real node. It is started in a
// process and a mount namespace of its own, starts containerd and the kubelet
// there, and ends with its standard input. The kernel then ends all that came of
// it, shims and pods included, and takes its mounts away: whatever happens,
// nothing of the node stays behind.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// spec is what the file named by the only argument says.
type spec struct {
	Covered []string  `json:"covered"` // folders of the system to cover with empty ones
	Sysctls []string  `json:"sysctls"` // kernel settings that the node may write without effect
	Scratch string    `json:"scratch"` // a folder to keep what stands in for both
	Run     []program `json:"run"`     // in this order
}

type program struct {
	Path  string   `json:"path"`
	Args  []string `json:"args"`
	Env   []string `json:"env"`
	Log   string   `json:"log"`
	Ready string   `json:"ready"` // the next one starts when this file is there; "" for at once
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "nodeinit:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Getpid() != 1 || len(os.Args) != 2 {
		return errors.New("it is started by devcluster, as the first process of a namespace")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	end := make(chan error, 3)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-signals; end <- nil }()
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); end <- nil }()
	if err := s.prepare(); err != nil {
		return err
	}
	names := map[int]string{}
	for _, p := range s.Run {
		pid, err := p.start()
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Path, err)
		}
		names[pid] = filepath.Base(p.Path)
	}
	go func() { end <- reap(names) }()
	return <-end
}

// prepare makes the mounts, none of which anybody outside sees.
func (s spec) prepare() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NOEXEC|syscall.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, name := range s.Sysctls {
		// The kubelet insists on settings that concern the whole machine. It is
		// given a file to write them to.
		path := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		own := s.standIn(path)
		if err := os.WriteFile(own, value, 0o644); err != nil {
			return err
		}
		if err := cover(path, own); err != nil {
			return err
		}
	}
	for _, dir := range s.Covered {
		own := s.standIn(dir)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		if err := cover(dir, own); err != nil {
			return err
		}
	}
	return nil
}

// standIn is where the node's own version of path is kept.
func (s spec) standIn(path string) string {
	return filepath.Join(s.Scratch, strings.ReplaceAll(path[1:], "/", "."))
}

// cover makes path mean own from here on.
func cover(path, own string) error {
	if err := syscall.Mount(own, path, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", path, err)
	}
	return nil
}

// start runs p and waits until it is ready for the next.
func (p program) start() (int, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	process, err := os.StartProcess(p.Path, append([]string{p.Path}, p.Args...), &os.ProcAttr{
		Env:   append(os.Environ(), p.Env...),
		Files: []*os.File{null, log, log},
	})
	if err != nil {
		return 0, err
	}
	for limit := time.Now().Add(20 * time.Second); p.Ready != ""; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(p.Ready); err == nil {
			break
		}
		var status syscall.WaitStatus
		if pid, _ := syscall.Wait4(process.Pid, &status, syscall.WNOHANG, nil); pid == process.Pid {
			return 0, fmt.Errorf("it ended with exit status %d; see %s", status.ExitStatus(), p.Log)
		}
		if time.Now().After(limit) {
			return 0, fmt.Errorf("%s is not there after 20s; see %s", p.Ready, p.Log)
		}
	}
	return process.Pid, nil
}

// reap buries every child, adopted ones too, until one of the named ends.
func reap(names map[int]string) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if name, ok := names[pid]; ok {
			return fmt.Errorf("%s ended by itself with exit status %d", name, status.ExitStatus())
		}
	}
}
