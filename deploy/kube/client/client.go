// Package client is one API server, asked by one user: the connection, the
// resources of kinds, requests for objects, and errors that callers can tell apart.
//
// Reads are repeated, with backoff, while the API server is away, and so are those
// writes that may safely happen twice.
package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

const (
	dialTimeout = 4 * time.Second
	pingTimeout = 5 * time.Second
)

// Parallel bounds the requests that one operation has under way at once.
const Parallel = 16

// Options say which cluster is meant. The zero value is what kubectl would use:
// KUBECONFIG, ~/.kube/config, or the service account of the pod.
type Options struct {
	Kubeconfig string
	Context    string
	Progress   release.Progress // receives the server's warnings; nil drops them
}

// Client is one API server, asked by one user. It is safe for concurrent use.
type Client struct {
	host     string
	plugin   string // the command of the credential plugin; empty if there is none
	http     *http.Client
	typed    typedClient
	dynamic  dynamic.Interface
	metadata metadata.Interface
	kinds    *kinds
}

// silence ends what client-go logs to stderr, all of which it also returns: the caller
// decides what is shown. Its logger is one of the process and may not be set while
// another client is at work.
var silence = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

// Connect reads the configuration and opens no connection. The error names the
// file or the context that is missing.
func Connect(o Options) (*Client, error) {
	silence()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, &ConfigError{Kubeconfig: o.Kubeconfig, Context: o.Context, Err: err}
	}
	// The API server has its own fairness and answers 429 when it is busy.
	cfg.QPS, cfg.Burst = -1, -1
	cfg.UserAgent = object.Manager
	cfg.WarningHandler = rest.NoWarnings{}
	if o.Progress != nil {
		cfg.WarningHandler = warnings(o.Progress)
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	cfg.Dial = dialer.DialContext
	return connect(cfg)
}

// connect is the client of a configuration that client-go's own means have made. All
// that it sends goes over one HTTP client, and so over one connection.
func connect(cfg *rest.Config) (*Client, error) {
	c := &Client{host: cfg.Host}
	if cfg.ExecProvider != nil {
		c.plugin = cfg.ExecProvider.Command
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return guarded{limited{next, requestLimit}} })
	var err error
	if c.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, fmt.Errorf("read the cluster's credentials: %w", err)
	}
	if c.typed, err = newTypedClient(cfg, c.http); err != nil {
		return nil, fmt.Errorf("client for %s: %w", c.host, err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(cfg, c.http); err != nil {
		return nil, fmt.Errorf("client for %s: %w", c.host, err)
	}
	if c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), c.http); err != nil {
		return nil, fmt.Errorf("client for %s: %w", c.host, err)
	}
	c.kinds = newKinds(c.discover)
	return c, nil
}

// Ping asks the API server for its version. It takes 5 seconds at most; the
// error is an *UnreachableError, an *UnauthorizedError or a *ForbiddenError.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	var err error
	for range 3 {
		_, err = c.rest().Get().AbsPath("/version").MaxRetries(0).DoRaw(ctx)
		if err == nil || utilnet.IsConnectionRefused(err) || !c.disconnected(err) || ctx.Err() != nil {
			break
		}
		// It was there, and failed.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
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

// Clock is the time by the API server.
func (c *Client) Clock(ctx context.Context) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.rest().Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return time.Time{}, c.explain(err)
	}
	defer resp.Body.Close()
	return http.ParseTime(resp.Header.Get("Date"))
}
