package shipit_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/explain"
)

// generated holds a file to what it is generated from; -update writes it.
func generated(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, want == string(data), "%s is not up to date: `go test -run %s -update .` writes it", file, t.Name())
}

func TestConfigDoc(t *testing.T) {
	generated(t, "docs/config.md", explain.Doc())
}

func TestConfigSchema(t *testing.T) {
	schema, err := explain.Schema()
	require.NoError(t, err)
	generated(t, "shipit.schema.json", string(schema))
}
