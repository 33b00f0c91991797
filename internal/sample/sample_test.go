package sample

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSameCallsGiveTheSameCommits(t *testing.T) {
	make := func() []string {
		r := New(t, Options{Registry: "127.0.0.1:5000"})
		first := r.Git("rev-parse", "HEAD")
		return []string{first, r.Commit("break it", Fault("crash-on-boot")), r.Remove("packages/clock")}
	}
	one, two := make(), make()
	require.Equal(t, one, two)
	require.NotEqual(t, one[0], one[1])
	require.NotEqual(t, one[1], one[2])
}

func TestThePlaceholdersAreFilledIn(t *testing.T) {
	r := New(t, Options{Registry: "127.0.0.1:5000", Base: "127.0.0.1:5000/bun@sha256:00"})
	cfg := r.Read("shipit.yaml")
	require.Contains(t, cfg, "repository: 127.0.0.1:5000/busrig/system-bus-worker\n")
	require.Contains(t, cfg, "base: 127.0.0.1:5000/bun@sha256:00\n")
	require.NotContains(t, cfg, "${")
}
