package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	got := shipit(t, "explain", "images.worker.run")
	require.Equal(t, exitOK, got.code, got.err)
	require.Contains(t, got.out, "images.*.run   list of commands\n")

	got = shipit(t, "explain", "CrashLoop", "-o", "json")
	require.Equal(t, exitOK, got.code, got.err)
	var doc struct{ Kind, Name, Type, Remedy string }
	require.NoError(t, json.Unmarshal([]byte(got.out), &doc))
	require.Equal(t, "code", doc.Kind)
	require.NotEmpty(t, doc.Remedy)

	got = shipit(t, "explain", "images.worker.rum")
	require.Equal(t, exitUsage, got.code)
	require.Empty(t, got.out)
	require.Contains(t, got.err, "→ did you mean images.worker.run?\n")

	got = shipit(t, "explain", "--schema")
	require.Equal(t, exitOK, got.code, got.err)
	require.True(t, json.Valid([]byte(got.out)))
}
