package process_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/pipeline/process"
)

func TestProgressIsOneLineOfTheLast(t *testing.T) {
	var heard []string
	script := `echo start; for i in 1 2 30; do echo "Progress: resolved 520, added $i"; done; echo "ERR 404"; echo "ERR 405 gone"; exit 3`
	last, err := process.Stream(exec.CommandContext(t.Context(), "sh", "-c", script), nil, func(line string) { heard = append(heard, line) })
	require.Error(t, err)
	require.Equal(t, []string{"start", "Progress: resolved 520, added 30", "ERR 404", "ERR 405 gone"}, last)
	require.Len(t, heard, 6, "all of them are passed on")
}
