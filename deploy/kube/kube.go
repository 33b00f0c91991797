// Package kube carries the roles of a release that run in Kubernetes: it says
// beforehand what would refuse them, applies their objects, waits until the new
// revision serves or is known to have failed, and observes what runs.
//
// Every write is a server-side apply by the field manager "shipit". What
// belongs to a role is known by its ApplySet (KEP-3659), never by listing every
// kind. What is unchanged is found by reading, and costs no write.
package kube

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/joelhooks/shipit/release"
)

// Manager is the field manager of every write.
const Manager = "shipit"

const (
	dialTimeout = 4 * time.Second
	pingTimeout = 5 * time.Second
)

// Options say which cluster is meant, and what a Target cannot do by itself. The
// zero value is what kubectl would use: KUBECONFIG, ~/.kube/config, or the service
// account of the pod.
type Options struct {
	Kubeconfig string
	Context    string
	Progress   release.Progress // receives the progress and the server's warnings; nil drops them

	// What follows is read by Open only.

	Timeout time.Duration // of one rollout; default DefaultTimeout
	// CanPull tries to read an image's manifest by reference with the content of a
	// pull secret, nil for none. A nil func skips the check.
	CanPull func(ctx context.Context, ref string, dockerConfigJSON []byte) error
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
}

// Cluster is one API server, as one user. It is safe for concurrent use.
type Cluster struct {
	host    string
	name    string // of the context, for messages
	http    *http.Client
	typed   typedClient
	objects dynamic.Interface
	meta    metadata.Interface
	kinds   *kinds
}

// Connect reads the configuration and opens no connection. The error names the
// file or the context that is missing.
func Connect(o Options) (*Cluster, error) {
	// client-go logs to stderr what it also returns; the caller says what is said.
	klog.SetLogger(logr.Discard())
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, &ConfigError{Kubeconfig: o.Kubeconfig, Context: o.Context, Err: err}
	}
	c := &Cluster{host: cfg.Host, name: o.Context}
	if raw, err := loader.RawConfig(); err == nil && c.name == "" {
		c.name = raw.CurrentContext
	}
	// The API server has its own fairness and answers 429 when it is busy.
	cfg.QPS, cfg.Burst = -1, -1
	cfg.UserAgent = Manager
	cfg.WarningHandler = rest.NoWarnings{}
	if o.Progress != nil {
		cfg.WarningHandler = warnings(o.Progress)
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	cfg.Dial = dialer.DialContext
	return c, c.build(cfg)
}

// build makes the clients, all over one HTTP client and so one connection.
func (c *Cluster) build(cfg *rest.Config) error {
	var err error
	if c.http, err = rest.HTTPClientFor(cfg); err != nil {
		return fmt.Errorf("read the cluster's credentials: %w", err)
	}
	if c.typed, err = newTypedClient(cfg, c); err != nil {
		return fmt.Errorf("client for %s: %w", c.host, err)
	}
	if c.objects, err = dynamic.NewForConfigAndClient(cfg, c.http); err != nil {
		return fmt.Errorf("client for %s: %w", c.host, err)
	}
	if c.meta, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), c.http); err != nil {
		return fmt.Errorf("client for %s: %w", c.host, err)
	}
	c.kinds = newKinds(c.served)
	return nil
}

// Name is the context that is used; empty inside a cluster.
func (c *Cluster) Name() string { return c.name }

// Ping asks the API server for its version. It takes 5 seconds at most; the
// error is an *UnreachableError, an *UnauthorizedError or a *ForbiddenError.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err := c.raw().Get().AbsPath("/version").MaxRetries(0).DoRaw(ctx)
	return c.explain(err)
}

// warnings turns the server's Warning headers into notes.
type warnings release.Progress

// HandleWarningHeader reports the text of one header.
func (w warnings) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && text != "" {
		release.Progress(w).Report(release.Event{Phase: release.PhaseApply, Mark: release.MarkNote, Message: "the API server warns: " + text})
	}
}
