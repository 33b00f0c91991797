package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/joelhooks/shipit/tools/waiting"
)

// machineLock is held by the one process that has a real node. It is not in a
// temporary folder, where others than root could have put it.
const machineLock = "/run/shipit-real-node.lock"

// covered are the folders that kubelet, containerd and CNI write to; the node has
// empty ones of its own there. Besides, paths in them are short enough for sockets.
func covered() []string { return []string{"/run", "/var/lib", "/var/log"} }

// CanRunReal says why there can be no real node on this machine; nil if there can.
func CanRunReal() error {
	if os.Geteuid() != 0 {
		return errors.New("a real node needs root")
	}
	for _, program := range []string{"apt-get", "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("a real node is made of Debian packages: %w", err)
		}
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if err := probe.Run(); err != nil {
		return fmt.Errorf("a real node needs namespaces of its own, which this process may not make: %w", err)
	}
	if _, err := cgroupRoots(); err != nil {
		return fmt.Errorf("a real node needs control groups: %w", err)
	}
	return nil
}

// FetchReal fetches the packages that a real node is made of, so that Up need
// not. They are kept in the cache.
func FetchReal(ctx context.Context, progress func(string)) error {
	_, err := debianRoot(ctx, progress)
	return err
}

// startReal starts the registries and the node, and returns when it is ready.
func (c *Cluster) startReal(ctx context.Context, tools map[string]string) error {
	traces := nodeTraces{Bridge: bridgeName, Cgroup: fmt.Sprintf("shipit-node-%d", os.Getpid())}
	if err := c.takeMachine(ctx, traces); err != nil {
		return err
	}
	root, err := debianRoot(ctx, c.options.Progress)
	if err != nil {
		return err
	}
	n := node{c: c, root: root, tools: tools, cgroup: traces.Cgroup}
	if n.net, err = freeSubnet(); err != nil {
		return err
	}
	// Recorded first: what is made from here on is known to whoever cleans up.
	err = c.state.keep(func(r *record) { r.Node = &traces })
	if err != nil {
		return err
	}
	if err := makeBridge(bridgeName, n.net.gateway()); err != nil {
		return fmt.Errorf("make the bridge %s: %w", bridgeName, err)
	}
	if err := makeCgroups(n.cgroup); err != nil {
		return fmt.Errorf("make the control group %s: %w", n.cgroup, err)
	}
	if err := c.startRegistries(ctx, root); err != nil {
		return err
	}
	if err := pushPause(ctx, tools["pause"], c.Registry); err != nil {
		return fmt.Errorf("push the pause image: %w", err)
	}
	defer waiting.For(c.options.Progress, "starting containerd and kubelet", waiting.About(8*time.Second))()
	return n.start(ctx)
}

// takeMachine waits until no other process has a real node, and removes what
// one that was killed left behind.
func (c *Cluster) takeMachine(ctx context.Context, traces nodeTraces) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		lock, err := tryLock(machineLock)
		if err != nil {
			return fmt.Errorf("lock the machine's one real node: %w", err)
		}
		var last holder
		text, _ := os.ReadFile(machineLock)
		_ = json.Unmarshal(text, &last)
		if lock != nil {
			c.state.held = append(c.state.held, lock)
			if err := last.remove(ctx); err != nil {
				return fmt.Errorf("clean up after a killed real node in %s: %w", last.Dir, err)
			}
			if _, err := net.InterfaceByName(traces.Bridge); err == nil {
				return fmt.Errorf("there is a link %s already, and no cluster knows of it", traces.Bridge)
			}
			return writeHolder(lock, holder{Owner: c.state.Owner, Dir: c.dir, Traces: traces})
		}
		if !told {
			c.options.Progress(fmt.Sprintf("waiting for the machine's one real node, which process %d has in %s", last.Owner.PID, last.Dir))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the real node of process %d: %w", last.Owner.PID, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// holder is the content of the machine's lock. It has the traces too, so that
// they can be removed when the folder is gone.
type holder struct {
	Owner  mark       `json:"owner"`
	Dir    string     `json:"dir"`
	Traces nodeTraces `json:"traces"`
}

// remove takes away what the last holder did not come to. The zero holder had nothing.
func (h holder) remove(ctx context.Context) error {
	if h.Owner.alive() {
		return nil // it has let go of the lock while it goes on with its folder
	}
	if r, err := readRecord(h.Dir); err == nil && r.Owner == h.Owner {
		if err := Remove(ctx, h.Dir); err != nil {
			return err
		}
	}
	return h.Traces.remove()
}

func writeHolder(lock *os.File, h holder) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt(text, 0)
	return err
}

// node is what the real node is made of.
type node struct {
	c      *Cluster
	root   string // of the unpacked Debian packages
	tools  map[string]string
	net    subnet
	cgroup string
}

// start runs containerd and the kubelet under nodeinit.
func (n node) start(ctx context.Context) error {
	for _, dir := range covered() {
		if strings.HasPrefix(n.c.dir+"/", dir+"/") {
			return fmt.Errorf("a real node cannot live in %s: its containers see another %s", n.c.dir, dir)
		}
	}
	if err := n.writeFiles(); err != nil {
		return err
	}
	p, err := n.c.state.start(command{
		name: "node", path: n.tools["nodeinit"], args: []string{n.path("init.json")},
		attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID},
	})
	if err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return n.c.api.usable(ctx, 1) }
	if err := p.await(ctx, 2*time.Minute, ready); err != nil {
		return fmt.Errorf("%w\nthe kubelet's log ends with:\n%s", err, tail(n.c.path("log", "kubelet.log"), 5))
	}
	return nil
}

func (n node) path(elem ...string) string {
	return n.c.path(append([]string{"node"}, elem...)...)
}

// startRegistries runs one registry for all and one with a password.
func (c *Cluster) startRegistries(ctx context.Context, root string) error {
	c.AuthRegistry.User, c.AuthRegistry.Password = "shipit", "open-sesame"
	hash, err := bcrypt.GenerateFromPassword([]byte(c.AuthRegistry.Password), bcrypt.MinCost)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.path("node"), 0o755); err != nil {
		return err
	}
	passwords := c.path("node", "htpasswd")
	if err := os.WriteFile(passwords, []byte(c.AuthRegistry.User+":"+string(hash)+"\n"), 0o600); err != nil {
		return err
	}
	if c.Registry, err = c.startRegistry(ctx, root, "registry", ""); err != nil {
		return err
	}
	auth := fmt.Sprintf("auth: {htpasswd: {realm: shipit, path: %q}}\n", passwords)
	c.AuthRegistry.Registry, err = c.startRegistry(ctx, root, "registry-with-login", auth)
	return err
}

// startRegistry runs Debian's docker-registry on a free port and gives its address.
func (c *Cluster) startRegistry(ctx context.Context, root, name, auth string) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf(`version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: %q}
%s`, c.path("node", name), addr, auth)
	file := c.path("node", name+".yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return "", err
	}
	p, err := c.state.start(command{
		name: name, path: filepath.Join(root, "usr/bin/docker-registry"), args: []string{"serve", file},
		env: []string{"OTEL_TRACES_EXPORTER=none"},
	})
	if err != nil {
		return "", err
	}
	return addr, p.await(ctx, 2*time.Minute, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}
