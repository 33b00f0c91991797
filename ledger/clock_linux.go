package ledger

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is a clock that only runs on, also while the machine sleeps: Go's
// own monotonic clock stands still then.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // fails for no clock of Linux 2.6.39 and later
	return time.Duration(now.Nano())
}
