package client

import (
	"context"
	"errors"
	"time"
)

// outageLimit is how long the API server may be away before a request fails.
const outageLimit = 45 * time.Second

// retry repeats a request that may safely be repeated, with backoff, while the API
// server is away. Any answer of the server ends it. If ctx ends during a try, the error
// is that of the one before.
func (c *Client) retry(ctx context.Context, request func() error) error {
	pause, deadline := 50*time.Millisecond, time.Now().Add(outageLimit)
	var before error
	for {
		err := request()
		if before != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return c.explain(before)
		}
		before = err
		if err == nil || !c.disconnected(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return c.explain(err)
		}
		select {
		case <-ctx.Done():
			return c.explain(err)
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}
