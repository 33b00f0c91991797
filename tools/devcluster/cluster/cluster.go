// Package cluster brings up Kubernetes clusters for development and tests: an
// empty folder becomes a real API server with its controllers and scheduler,
// and a node under it. The node is simulated by kwok, which needs nothing but
// Go, or real: kubelet and containerd, as root on Debian or Ubuntu.
//
// What Up makes, Down removes, and nothing else. What a killed process left is
// removed by the next Up on the same folder; its processes die with it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/tools/waiting"
)

// Options say which cluster to bring up. The zero value is a simulated one in
// a temporary folder.
type Options struct {
	// Dir keeps all that the cluster is made of. It is made if it is not there,
	// and one cluster at a time can live in it. Empty: a temporary folder, gone after Down.
	Dir string
	// Real asks for a real node; CanRunReal says whether there can be one.
	Real bool
	// Nodes is the number of simulated nodes; 0 means 1. A real cluster has one.
	Nodes int
	// Port of the API server on 127.0.0.1; 0 takes a free one.
	Port int
	// Audit writes one JSON line a request to Cluster.AuditLog.
	Audit bool
	// Pods answers what the API server's proxy sends to any port of any simulated
	// pod; http.LocalAddrContextKey tells which, as podIP:port. Nil: there is no
	// way to simulated pods. Real pods answer for themselves.
	Pods http.Handler
	// Progress receives one line for people at a time, from several goroutines; nil is silent.
	Progress func(string)
}

// Cluster is one running cluster.
type Cluster struct {
	Kubeconfig   string // path of the admin's kubeconfig
	Registry     string // host:port of the registry on loopback that a real node pulls from; "" when simulated
	AuthRegistry Login  // the same with a password, for pull secrets; zero when simulated
	AuditLog     string // path of the audit log; "" without Options.Audit

	dir     string
	options Options
	port    int
	podNet  string // address of the way to simulated pods; "" if there is none
	state   *state
	api     api
	closers []func()
	down    sync.Once
	downErr error
}

// Login is a registry that wants a password, and one that it takes.
type Login struct {
	Registry, User, Password string
}

// Up brings a cluster up and returns when its nodes are ready and pods can be
// created. On the first run on a machine it builds Kubernetes, which takes
// minutes and is told to Progress. A real node waits its turn: there is one a
// machine at a time. When ctx ends early, what was made is removed again.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Real {
		if err := CanRunReal(); err != nil {
			return nil, fmt.Errorf("a real node cannot run here: %w", err)
		}
		if o.Nodes > 1 {
			return nil, fmt.Errorf("a real cluster has one node, not %d", o.Nodes)
		}
	}
	st, err := claim(o.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: st.dir, options: o, port: o.Port, state: st}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context) error {
	start := time.Now()
	tools, err := Build(ctx, c.options.Progress, parts(c.options.Real)...)
	if err != nil {
		return err
	}
	if c.options.Audit {
		c.AuditLog = c.path("log", "audit.json")
	}
	if c.options.Pods != nil && !c.options.Real {
		if c.podNet, err = c.startPodNet(); err != nil {
			return err
		}
	}
	done := waiting.For(c.options.Progress, "starting etcd, API server, controllers and scheduler", waiting.About(8*time.Second))
	err = c.startPlane(ctx, tools["controlplane"])
	done()
	if err != nil {
		return err
	}
	c.Kubeconfig = c.path("plane", "kubeconfig")
	if c.options.Real {
		err = c.startReal(ctx, tools)
	} else {
		err = c.startSimulated(ctx, tools["kwok"])
	}
	if err != nil {
		return err
	}
	if err := c.api.awaitUsable(ctx, max(c.options.Nodes, 1)); err != nil {
		return fmt.Errorf("wait for the nodes: %w", err)
	}
	c.options.Progress(fmt.Sprintf("cluster is up (%.1fs)", time.Since(start).Seconds()))
	return nil
}

// startPlane starts the control plane on c.port, and on a free one the first time.
func (c *Cluster) startPlane(ctx context.Context, bin string) error {
	first := c.port == 0
	return whilePortsAreTaken(func() (err error) {
		if first {
			if c.port, err = freePort(); err != nil {
				return err
			}
		}
		return c.startPlaneOnce(ctx, bin)
	})
}

// whilePortsAreTaken starts what takes free ports of its own, and again if another
// program took one of them in between.
func whilePortsAreTaken(start func() error) error {
	for try := 1; ; try++ {
		err := start()
		if err == nil || try == 3 || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			return err
		}
	}
}

func (c *Cluster) startPlaneOnce(ctx context.Context, bin string) error {
	ready := c.path("plane", "kubeconfig")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	args := []string{"--until-eof", "--dir", c.path("plane"), "--port", fmt.Sprint(c.port)}
	if c.AuditLog != "" {
		args = append(args, "--audit-log", c.AuditLog)
	}
	if c.podNet != "" {
		args = append(args, "--node-proxy", c.podNet)
	}
	p, err := c.state.start(command{name: "controlplane", path: bin, args: args})
	if err != nil {
		return err
	}
	if err := p.awaitFile(ctx, ready, 2*time.Minute); err != nil {
		return err
	}
	c.api, err = newAPI(c.path("plane"), c.port)
	return err
}

// StopAPIServer ends the control plane and leaves the nodes alone, as when it
// restarts or cannot be reached. StartAPIServer brings it back.
func (c *Cluster) StopAPIServer(ctx context.Context) error {
	return c.state.stop(ctx, "controlplane", 2*time.Second)
}

// StartAPIServer starts the control plane again: the same address, credentials and objects.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	tools, err := Build(ctx, c.options.Progress, "controlplane")
	if err != nil {
		return err
	}
	return c.startPlane(ctx, tools["controlplane"])
}

// RestartAPIServer stops the control plane and starts it again. It returns
// when it serves; clients see a few seconds of refused connections.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.StopAPIServer(ctx); err != nil {
		return err
	}
	return c.StartAPIServer(ctx)
}

// Down stops the cluster and removes what Up made. Calling it again gives the same answer.
func (c *Cluster) Down(ctx context.Context) error {
	c.down.Do(func() {
		for _, release := range c.closers {
			release()
		}
		c.downErr = c.state.remove(ctx)
	})
	return c.downErr
}

// Call asks the API server as the admin: with body as JSON, if it is not nil. A
// PATCH is a strategic merge. The answer is read into into, if that is not nil.
func (c *Cluster) Call(ctx context.Context, method, path string, body, into any) error {
	return c.api.call(ctx, method, path, body, into)
}

// Dir is the folder that the cluster lives in; its logs are in Dir/log.
func (c *Cluster) Dir() string { return c.dir }

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}
