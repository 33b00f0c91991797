package rollout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestTheEndOfALongLineIsKept(t *testing.T) {
	message := "not ready within 14s: 0 of 1 new pods ready; failed to pull and unpack image: " + strings.Repeat("a/long/name/", 60) + ": dial tcp: lookup nowhere.invalid: no such host"
	f := presentable(&release.Failure{Message: message}, nil)
	require.True(t, strings.HasPrefix(f.Message, "not ready within 14s"), f.Message)
	require.True(t, strings.HasSuffix(f.Message, "no such host"), f.Message)
	require.LessOrEqual(t, len(f.Message), lineBytes+len("…"))
}

func TestTheNewestLinesAreKept(t *testing.T) {
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("%s line %d", strings.Repeat("é", 3000), i))
	}
	f := presentable(&release.Failure{Log: lines}, nil)
	require.Len(t, f.Log, logLines)
	require.Contains(t, f.Log[logLines-1], "line 99", "the newest")
	require.Contains(t, f.Log[0], "line 80")
	for _, l := range f.Log {
		require.LessOrEqual(t, len(l), lineBytes+len("…"))
		require.True(t, strings.ToValidUTF8(l, "") == l, "no character is cut in two")
	}
}

func TestWhatATerminalWouldObeyIsSpeltOut(t *testing.T) {
	f := presentable(&release.Failure{Message: "ended: \x1b]0;owned\x07", Log: []string{"\x1b[2Jgone", "a\x00b"}, Events: []string{"\x1b[31mred"}}, nil)
	require.Equal(t, `ended: \x1b]0;owned\x07`, f.Message)
	require.Equal(t, []string{`\x1b[2Jgone`, `a\x00b`}, f.Log)
	require.Equal(t, []string{`\x1b[31mred`}, f.Events)
}
