package main

import (
	"runtime/debug"
	"testing"

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
