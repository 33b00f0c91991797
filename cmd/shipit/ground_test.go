package main

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// besides has a test run beside others: those that run commands wait more than they
// compute. A soak has the time that it is given for itself.
func besides(t *testing.T) {
	t.Helper()
	if os.Getenv("SHIPIT_SOAK") == "" {
		t.Parallel()
	}
}

// shared is a cluster on which tests stand that run at the same time, each in namespaces
// of its own. The first brings it up, and the last takes it down.
type shared struct {
	options cluster.Options
	mu      sync.Mutex
	tests   int
	up      *cluster.Cluster
}

// The clusters of this package: one of simulated nodes, which have room for the pods of
// all tests, and one of the machine's one real node.
var (
	simulatedNodes = shared{options: cluster.Options{Nodes: 4, Pods: http.HandlerFunc(answerLikeWorker)}}
	realNode       = shared{options: cluster.Options{Real: true}}
)

// join brings the cluster up if no other test has.
func (s *shared) join(t *testing.T) *cluster.Cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tests == 0 {
		options := s.options
		options.Progress = progressOf(t)
		// The test that brings it up may end before the others.
		up, err := cluster.Up(context.WithoutCancel(t.Context()), options)
		require.NoError(t, err)
		s.up = up
	}
	s.tests++
	t.Cleanup(func() { s.leave(t) })
	return s.up
}

func (s *shared) leave(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tests--; s.tests == 0 {
		require.NoError(t, s.up.Down(context.Background()))
	}
}
