package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheLayersAreTimedFromTheEndOfTheInstallToTheRegistry(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }
	const events = `{"at":"2026-01-02T03:04:01Z","phase":"build","mark":"done","message":"ran bun install (1s)"}
{"at":"2026-01-02T03:04:02Z","phase":"push","mark":"done","message":"pushed worker"}
{"at":"2026-01-02T03:04:03Z","phase":"build","mark":"start","message":"run bun install"}
{"at":"2026-01-02T03:04:05Z","phase":"build","mark":"done","message":"ran bun install (2s)"}
{"at":"2026-01-02T03:04:06Z","phase":"build","mark":"done","message":"every import of src/serve.ts resolves"}
{"at":"2026-01-02T03:04:07Z","phase":"build","mark":"done","message":"built worker"}
{"at":"2026-01-02T03:04:08Z","phase":"push","mark":"step","message":"1 of 2 MB"}
{"at":"2026-01-02T03:04:09Z","phase":"push","mark":"done","message":"pushed worker"}
half a li`
	require.Equal(t, layerSpan{at(5), at(6), at(9)}, layersIn([]byte(events)))
	require.True(t, layersIn([]byte(`{"phase":"push","mark":"done"}`)).from.IsZero(), "no install has run")
}
