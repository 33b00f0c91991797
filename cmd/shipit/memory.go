package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// startGC lets the heap grow to some 8 MB before the garbage collector runs for the first
	// time: most commands end before that.
	startGC = 200
	// usualGC is Go's own.
	usualGC = 100
	// rolloutGC is how much may be allocated during a rollout, in percent of what is held,
	// before the garbage collector runs. Go's own makes a peak of twice what is held.
	rolloutGC = 50
)

// easeStart puts off the first run of the garbage collector, and that alone. GOGC of the
// environment wins.
func easeStart() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(startGC)
	runtime.AddCleanup(new(*int), func(int) { endStart() }, 0) // at the first run
}

// endStart has the garbage collector run as usual from now on, unless a rollout has said
// already how it is to run.
func endStart() {
	if now := debug.SetGCPercent(usualGC); now != startGC {
		debug.SetGCPercent(now)
	}
}

// spareMemory has the garbage collector run sooner. A rollout may hold thousands of
// objects, and waits for its targets more than it computes. GOGC of the environment wins.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(rolloutGC)
	}
}
