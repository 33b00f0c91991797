package waiting

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALineSaysWhatIsWaitedForAndHowLongStill(t *testing.T) {
	for _, c := range []struct {
		took, left time.Duration
		want       string
	}{
		{0, 0, "make a Debian"},
		{0, 40 * time.Second, "make a Debian (about 40s)"},
		{7200 * time.Millisecond, 33 * time.Second, "make a Debian (7s so far, about 35s left)"},
		{2*time.Minute + 4*time.Second, 3*time.Minute + 31*time.Second, "make a Debian (2 min so far, about 3½ min left)"},
		{50 * time.Second, -10 * time.Second, "make a Debian (50s so far, longer than expected)"},
		{5 * time.Second, 10 * time.Millisecond, "make a Debian (5s so far, about 1s left)"},
	} {
		require.Equal(t, c.want, Line("make a Debian", c.took, c.left))
	}
}

func TestAWaitIsToldUntilItIsDone(t *testing.T) {
	said := make(chan string, 9)
	done := For(func(line string) { said <- line }, "fetch bun", About(10*time.Second))
	require.Equal(t, "fetch bun (about 10s)", <-said)
	done()
	For(nil, "in silence", About(time.Second))()
}

func TestAWaitThatIsOverAtOnceIsNotWorthALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // on a busy machine at once may be late
		var said []string
		For(func(line string) { said = append(said, line) }, "fetch what is there", About(10*time.Second))()
		require.Empty(t, said)
	})
}
