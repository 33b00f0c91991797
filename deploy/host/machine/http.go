package machine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Do sends a request as if from the machine itself: http://127.0.0.1:PORT/… is a
// port of the machine, reached directly or through the SSH connection. No proxy
// is used, no redirect followed, and no connection kept: the next request may
// be for another process.
func (m *Machine) Do(req *http.Request) (*http.Response, error) {
	resp, err := m.roundTripper().RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s on %s: %w", req.Method, req.URL.Path, m.Name, err)
	}
	return resp, nil
}

func (m *Machine) roundTripper() *http.Transport {
	return &http.Transport{
		DialContext:           func(ctx context.Context, _, addr string) (net.Conn, error) { return m.via.dial(ctx, addr) },
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: 30 * time.Second,
	}
}
