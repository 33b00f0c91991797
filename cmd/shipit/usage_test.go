package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// said is what one command line ended with.
type said struct {
	code     int
	out, err string
}

func shipit(t *testing.T, args ...string) said {
	t.Helper()
	var out, err strings.Builder
	code := execute(t.Context(), args, terminal{out: &out, err: &err})
	return said{code, out.String(), err.String()}
}

func TestUsage(t *testing.T) {
	repo := sample.New(t, sample.Options{})

	t.Run("a rollback to what names no release is a usage error, before anything is reached", func(t *testing.T) {
		got := shipit(t, "rollback", "-C", repo.Dir, "--kubeconfig", "/nonexistent", "--to", "!!")
		require.Equal(t, exitUsage, got.code, got.err)
		require.Contains(t, got.err, `shipit: "!!" is no sequence number, SHA, version or constraint`)
	})
}
