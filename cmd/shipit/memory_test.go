package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheCollectorRunsSoonerInARollout(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t.Setenv("GOGC", "200")
	spareMemory()
	require.Equal(t, 100, debug.SetGCPercent(100), "the environment has said what it wants")
	t.Setenv("GOGC", "")
	spareMemory()
	require.Equal(t, rolloutGC, debug.SetGCPercent(100))
}

func TestTheCollectorRunsAsUsualFromItsFirstRunOn(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(usualGC))
	t.Setenv("GOGC", "200")
	easeStart()
	require.Equal(t, usualGC, debug.SetGCPercent(usualGC), "the environment has said what it wants")
	t.Setenv("GOGC", "")
	easeStart()
	require.Eventually(t, func() bool {
		runtime.GC()
		now := debug.SetGCPercent(startGC)
		debug.SetGCPercent(now)
		return now == usualGC
	}, time.Minute, time.Millisecond)

	debug.SetGCPercent(rolloutGC)
	endStart()
	require.Equal(t, rolloutGC, debug.SetGCPercent(usualGC), "a rollout has said what it wants")
}
