package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

// seeds are the configurations of the repository's samples.
func seeds(f *testing.F) {
	f.Helper()
	data, err := os.ReadFile("../testdata/monorepo/shipit.yaml")
	require.NoError(f, err)
	f.Add(data, "")
	archives, err := filepath.Glob("../*/testdata/*.txtar")
	require.NoError(f, err)
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(f, err)
		for _, file := range archive.Files {
			if file.Name == config.File {
				f.Add(file.Data, "staging")
			}
		}
	}
	f.Add([]byte("a: &a [*a]\n<<: *a\n"), "")
	f.Add([]byte("environments: {staging: {roles: {x: {<<: {image: y}}}}}\n"), "staging")
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, env string) {
		cfg, err := config.Parse("shipit.yaml", data, env)
		if err != nil {
			var fault *config.Error
			require.True(t, errors.As(err, &fault), "a fault names the file: %v", err)
			require.Equal(t, "shipit.yaml", fault.File)
			return
		}
		for _, role := range cfg.Roles {
			require.NotEmpty(t, role.Target())
			require.Contains(t, cfg.Images, role.Image)
		}
	})
}
