package cluster

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatABuildStillTakesIsEstimated(t *testing.T) {
	cores := time.Duration(min(runtime.NumCPU(), 6))
	c := Compilation{Seconds: 400}
	require.Zero(t, c.left(0, 0, unknown))
	require.Equal(t, 400*time.Second/cores+linkTime-5*time.Second, c.left(5*time.Second, 3, unknown))
	require.Equal(t, 400*time.Second/cores+linkTime, c.left(0, 0, 2000), "nothing is compiled: what it takes elsewhere")
	require.Equal(t, linkTime-3*time.Second, c.left(3*time.Second, 0, 0), "all is in the cache: it is linked")
	require.Equal(t, linkTime, c.left(time.Minute, 2000, 2000))
	halfway := c.left(500*time.Second, 1000, 2000)
	require.InDelta(t, (250*time.Second + 100*time.Second/cores + linkTime).Seconds(), halfway.Seconds(), 1, "a slow machine shows in its own pace")
}
