package main

import (
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// soak says which cases of a table a test tries: some by default; all with
// SHIPIT_SOAK=all; and with SHIPIT_SOAK=DURATION as many as begin in that time after
// the test's beginning, in an order that is another each time.
type soak struct {
	whole bool
	until time.Time // zero: without end
	tried *atomic.Int32
}

// soaking begins a test's soak. When the test ends, it is logged how many of its
// cases were tried.
func soaking(t *testing.T, cases func() int) soak {
	s := soak{tried: &atomic.Int32{}}
	t.Cleanup(func() { t.Logf("%d of %d cases were tried", s.tried.Load(), cases()) })
	value := os.Getenv("SHIPIT_SOAK")
	if value == "" {
		return s
	}
	s.whole = true
	if limit, err := time.ParseDuration(value); err == nil {
		s.until = time.Now().Add(limit)
	}
	return s
}

// order is the order in which the cases of a table are begun.
func (s soak) order(cases int) []int {
	if !s.until.IsZero() {
		return rand.Perm(cases)
	}
	all := make([]int, cases)
	for i := range all {
		all[i] = i
	}
	return all
}

// begin counts a case, or skips it because the time is over.
func (s soak) begin(t *testing.T) {
	t.Helper()
	if !s.until.IsZero() && time.Now().After(s.until) {
		t.Skip("the time of this soak is over")
	}
	s.tried.Add(1)
}
