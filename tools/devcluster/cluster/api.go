package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// api is the little that Up itself asks of the API server.
type api struct {
	url    string
	token  string
	client *http.Client
}

// errAbsent is a 404 of the API server.
var errAbsent = errors.New("not found") //nolint:gochecknoglobals // a sentinel error

func newAPI(plane string, port int) (api, error) {
	token, err := os.ReadFile(filepath.Join(plane, "tokens.csv"))
	if err != nil {
		return api{}, err
	}
	pem, err := os.ReadFile(filepath.Join(plane, "certs", "apiserver.crt"))
	if err != nil {
		return api{}, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	a := api{url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	a.token, _, _ = strings.Cut(string(token), ",")
	a.client = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
	}
	return a, nil
}

// call sends body, if it is not nil, and reads the answer into into, if that is not nil.
func (a api) call(ctx context.Context, method, path string, body, into any) error {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, send)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", path, errAbsent)
	case res.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}

// awaitUsable returns when as many nodes are ready and a pod can be created,
// for which the default service account must be there.
func (a api) awaitUsable(ctx context.Context, nodes int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("not ready in 3 minutes"))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.usable(ctx, nodes)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (a api) usable(ctx context.Context, nodes int) error {
	var list struct {
		Items []struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
	}
	if err := a.call(ctx, http.MethodGet, "/api/v1/nodes", nil, &list); err != nil {
		return err
	}
	ready, why := 0, "it has not registered"
	for _, node := range list.Items {
		for _, c := range node.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				ready++
			} else if c.Type == "Ready" {
				why = c.Message
			}
		}
	}
	if ready < nodes {
		return fmt.Errorf("%d of %d nodes are ready: %s", ready, nodes, why)
	}
	return a.call(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil)
}

// freePort is a port on which nothing listens, and that the kernel gives to no program
// that asks for any: one of those could be taken before it is listened on, or while an
// API server is away. Linux gives them from 32768 on.
func freePort() (int, error) {
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no port from 10000 to 30000 is free")
}
