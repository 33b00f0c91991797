package ledger

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is a clock that only runs on, also while the machine sleeps: Go's
// own monotonic clock stands still then. On macOS it is CLOCK_MONOTONIC that
// counts sleep, see clock_gettime(3).
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // fails for no clock that is there
	return time.Duration(now.Nano())
}
