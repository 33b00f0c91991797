// Command controlplane runs a real Kubernetes control plane in one process:
// etcd, the API server, the controller manager and the scheduler, on loopback.
// It writes DIR/kubeconfig when it is ready to serve, and keeps all it knows in
// DIR, so that a later start on the same DIR and port is a restart of the same
// cluster: same objects, same certificate, same token.
//
// It is made for development and tests. Nothing is synced to disk on purpose,
// and anybody who can read DIR is cluster admin.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	_ "k8s.io/component-base/logs/json/register"
)

// stopLimit bounds a clean stop; what still runs then ends with the process.
const stopLimit = 5 * time.Second

type flags struct {
	dir      string
	port     int
	auditLog string
	proxy    string
	untilEOF bool
}

func main() {
	var f flags
	flag.StringVar(&f.dir, "dir", "", "folder of this control plane's state (required)")
	flag.IntVar(&f.port, "port", 0, "port of the API server on 127.0.0.1; 0 takes a free one")
	flag.StringVar(&f.auditLog, "audit-log", "", "file to write one JSON audit event a request to; empty writes none")
	flag.StringVar(&f.proxy, "node-proxy", "", "host:port of an HTTP CONNECT proxy through which nodes and pods are reached; empty goes straight")
	flag.BoolVar(&f.untilEOF, "until-eof", false, "stop when standard input ends, as it does when the parent dies")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.untilEOF {
		ctx = untilEOF(ctx)
	}
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

// untilEOF ends the returned context when standard input does.
func untilEOF(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}

// run starts the four parts in the order in which they need each other, and
// returns when ctx ends or one of them does.
func run(ctx context.Context, f flags) error {
	if f.dir == "" {
		return fmt.Errorf("--dir is required")
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p, err := newPlane(dir, f.port)
	if err != nil {
		return err
	}
	etcd, err := p.startEtcd(ctx)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer etcd.Close()
	ended := make(chan error, 3)
	parts := []struct {
		name  string
		start func(context.Context, chan<- error) error
	}{
		{"kube-apiserver", func(ctx context.Context, ended chan<- error) error {
			return p.startAPIServer(ctx, f, ended)
		}},
		{"kube-controller-manager", p.startControllers},
		{"kube-scheduler", p.startScheduler},
	}
	for _, part := range parts {
		if err := part.start(ctx, ended); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("start %s: %w", part.name, err)
		}
	}
	if err := p.publish(); err != nil {
		return err
	}
	return wait(ctx, ended, len(parts))
}

// wait returns when ctx is over and the parts have ended, or have had their
// time, or at once when a part ends by itself.
func wait(ctx context.Context, ended <-chan error, parts int) error {
	select {
	case err := <-ended:
		if ctx.Err() == nil {
			return fmt.Errorf("a part ended by itself: %w", err)
		}
		parts--
	case <-ctx.Done():
	}
	limit := time.After(stopLimit)
	for ; parts > 0; parts-- {
		select {
		case <-ended:
		case <-limit:
			return nil
		}
	}
	return nil
}
