package progress_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/progress"
	"github.com/joelhooks/shipit/release"
)

// reported is what is written for events, where the output is not a terminal.
func reported(t *testing.T, file string, events ...release.Event) string {
	t.Helper()
	var lines bytes.Buffer
	r, err := progress.New(&lines, file)
	require.NoError(t, err)
	for _, e := range events {
		r.Report(e)
	}
	require.NoError(t, r.Close())
	return lines.String()
}

func TestEventsBecomeLines(t *testing.T) {
	require.Equal(t, "→ build worker\n✓ built worker (2.1s)\n", reported(t, "",
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkStart, Message: "build worker"},
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "built worker", Took: 2100 * time.Millisecond}))
	require.Equal(t, "✗ cluster CrashLoop 1/3\n", reported(t, "", release.Event{Mark: release.MarkFail, Role: "cluster", Message: "CrashLoop", Ready: 1, Desired: 3}))
	require.Equal(t, "· \\x1b[2Jgone\n", reported(t, "", release.Event{Mark: release.MarkNote, Message: "\x1b[2Jgone"}), "a terminal is not told to clear its screen")
}

func TestLinesOfSeveralImagesNameTheirImage(t *testing.T) {
	require.Equal(t, "… worker: worker is up\n→ worker: run pnpm install\n→ gateway: run pnpm install\n✓ built worker 1234\n✓ worker: new commit\n", reported(t, "",
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkStep, Image: "worker", Message: "worker is up"},
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkStart, Image: "worker", Message: "run pnpm install"},
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkStart, Image: "gateway", Message: "run pnpm install"},
		release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Image: "worker", Message: "built worker 1234", Took: time.Millisecond},
		release.Event{Phase: release.PhasePush, Mark: release.MarkDone, Image: "worker", Message: "worker: new commit", Took: time.Millisecond}))
}

func TestAStepIsNotRepeated(t *testing.T) {
	step := release.Event{Mark: release.MarkStep, Role: "cluster", Message: "waiting", Desired: 3}
	require.Equal(t, "… cluster waiting 0/3\n", reported(t, "", step, step, step))
}

func TestEventsBecomeJSONLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	event := release.Event{Phase: release.PhaseBuild, Mark: release.MarkStart, Message: "build"}
	reported(t, file, event)
	reported(t, file, event)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	require.Len(t, lines, 2, "a second run appends")
	var read release.Event
	require.NoError(t, json.Unmarshal(lines[1], &read))
	require.Equal(t, "build", read.Message)
	require.False(t, read.At.IsZero())

	_, err = progress.New(&bytes.Buffer{}, filepath.Join(file, "x"))
	require.Error(t, err)
}
