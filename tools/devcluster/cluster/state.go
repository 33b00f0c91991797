package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// state is what a cluster has made outside its processes' memory. It is on
// disk before the thing it names is used, so that whoever comes after a killed
// process knows what to remove.
type state struct {
	dir      string
	lock     *os.File // held as long as this cluster lives
	held     []io.Closer
	launcher *launcher
	mu       sync.Mutex
	running  map[string]*process
	record
}

// record is the part of the state that is kept in DIR/state.json.
type record struct {
	Owner     mark            `json:"owner"`
	MadeDir   bool            `json:"madeDir"`
	Made      []string        `json:"made"` // names in DIR
	Processes map[string]mark `json:"processes"`
	Node      *nodeTraces     `json:"node,omitempty"`
}

const stateFile, lockFile, tempPrefix = "state.json", "lock", "shipit-cluster-"

// claim takes dir for one cluster and removes what a killed one left there.
func claim(dir string) (*state, error) {
	if dir == "" {
		if err := removeOrphans(); err != nil {
			return nil, err
		}
		temp, err := os.MkdirTemp("", tempPrefix)
		if err != nil {
			return nil, err
		}
		return occupy(temp, true)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return occupy(dir, made)
}

func occupy(dir string, made bool) (*state, error) {
	lock, err := tryLock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	if lock == nil {
		old, _ := readRecord(dir)
		return nil, fmt.Errorf("%s is in use by a cluster of process %d", dir, old.Owner.PID)
	}
	// Whoever takes over from a killed one also removes the folder that it made.
	if old, err := readRecord(dir); err == nil {
		made = made || old.MadeDir
	}
	if err := sweep(dir); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("clean up after a killed cluster in %s: %w", dir, err)
	}
	owner, err := markOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir, lock: lock, launcher: newLauncher(), running: map[string]*process{}}
	s.record = record{Owner: owner, MadeDir: made, Made: []string{"plane", "log", "node"}, Processes: map[string]mark{}}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		return nil, err
	}
	return s, s.save()
}

// save writes the record whole or not at all. The caller holds mu or is alone.
func (s *state) save() error {
	text, err := json.MarshalIndent(s.record, "", "  ")
	if err != nil {
		return err
	}
	part := filepath.Join(s.dir, stateFile+".part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(s.dir, stateFile))
}

// keep changes the record and saves it.
func (s *state) keep(change func(*record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.record)
	return s.save()
}

func readRecord(dir string) (record, error) {
	var r record
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// remove ends the cluster: its processes, the latest first, then its traces.
func (s *state) remove(ctx context.Context) error {
	s.mu.Lock()
	names := make([]string, 0, len(s.running))
	for name := range s.running {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return s.running[b].order - s.running[a].order })
	s.mu.Unlock()
	var errs []error
	for _, name := range names {
		// Nobody will read what the control plane and kwok could still write.
		grace := time.Duration(0)
		if name == "node" {
			grace = 10 * time.Second
		}
		errs = append(errs, s.stop(ctx, name, grace))
	}
	s.launcher.close()
	errs = append(errs, sweep(s.dir), os.Remove(filepath.Join(s.dir, lockFile)), s.lock.Close())
	for _, c := range s.held {
		errs = append(errs, c.Close())
	}
	if s.MadeDir {
		errs = append(errs, os.Remove(s.dir))
	}
	return errors.Join(errs...)
}

// sweep removes what the record in dir names. Without a record there is nothing to do.
func sweep(dir string) error {
	r, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for name, m := range r.Processes {
		if err := m.kill(); err != nil {
			errs = append(errs, fmt.Errorf("end %s: %w", name, err))
		}
	}
	if r.Node != nil {
		errs = append(errs, r.Node.remove(), dropMachineLock(r.Owner))
	}
	for _, name := range r.Made {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, stateFile))
}

// Remove ends the cluster in dir from outside: it asks the process that owns
// it to bring it down and waits for that, or cleans up itself if that process
// is gone. A dir without a cluster is fine.
func Remove(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ; {
		lock, err := tryLock(filepath.Join(dir, lockFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its owner has removed all
		}
		if err != nil {
			return err
		}
		if lock != nil {
			return removeLeft(dir, lock)
		}
		if r, err := readRecord(dir); err == nil && !asked {
			asked = true
			if err := r.Owner.signal(syscall.SIGTERM); err != nil {
				return fmt.Errorf("end process %d, which owns the cluster: %w", r.Owner.PID, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster in %s to end: %w", dir, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// removeLeft does what the dead owner of dir did not come to do.
func removeLeft(dir string, lock *os.File) error {
	defer lock.Close()
	r, err := readRecord(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(sweep(dir), os.Remove(filepath.Join(dir, lockFile))); err != nil {
		return err
	}
	if r.MadeDir {
		return os.Remove(dir)
	}
	return nil
}

// removeOrphans removes the temporary folders whose process was killed: no
// later Up would come to them by name.
func removeOrphans() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if r, err := readRecord(dir); err != nil || r.Owner.alive() {
			continue // in use, or just being made
		}
		lock, err := tryLock(filepath.Join(dir, lockFile))
		if err != nil || lock == nil {
			continue // somebody else's, or somebody else is at it
		}
		if err := removeLeft(dir, lock); err != nil {
			return fmt.Errorf("clean up after a killed cluster in %s: %w", dir, err)
		}
	}
	return nil
}

// tryLock locks the file at path for as long as it is open; nil if another
// process holds it. The kernel lets go when the holder dies.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		// The holder before us may have removed the file while we opened it.
		opened, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(opened, there) {
			return f, nil
		}
		_ = f.Close()
		return tryLock(path)
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}
