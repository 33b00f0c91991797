package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestInit(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "packages/web"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "packages/web/package.json"), []byte(`{"scripts": {"start": "bun a.ts"}}`), 0o644))

	got := shipit(t, "init", "-C", dir, "-o", "json")
	require.Equal(t, exitOK, got.code, got.err)
	var doc struct {
		File    string
		App     string
		Roles   []string
		Todos   []string
		LeftOut []string
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &doc))
	require.Equal(t, []string{"web"}, doc.Roles)
	require.NotEmpty(t, doc.Todos)
	cfg, err := config.Load(filepath.Join(dir, config.File), "")
	require.NoError(t, err)
	require.Equal(t, "web", cfg.App)

	require.Equal(t, exitRefused, shipit(t, "init", "-C", dir).code, "what is there is not overwritten")
	require.Equal(t, exitOK, shipit(t, "init", "-C", dir, "--force").code)

	got = shipit(t, "init", "-C", t.TempDir())
	require.Equal(t, exitRefused, got.code)
	require.Contains(t, got.err, "nothing here is deployed")
}
