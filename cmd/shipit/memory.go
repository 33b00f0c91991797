package main

import (
	"os"
	"runtime/debug"
)

// rolloutGC is how much may be allocated during a rollout, in percent of what is held,
// before the garbage collector runs. Go's own 100 makes a peak of twice what is held.
const rolloutGC = 50

// spareMemory has the garbage collector run sooner. A rollout may hold thousands of
// objects, and waits for its targets more than it computes. GOGC of the environment wins.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(rolloutGC)
	}
}
