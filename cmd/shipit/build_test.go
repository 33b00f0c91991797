package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestBuildOfOneImage(t *testing.T) {
	two := func() *commit {
		cfg := config.Config{
			Images: map[string]config.Image{"worker": {}, "gateway": {}},
			Roles:  config.Roles{{Name: "cluster", Image: "worker"}, {Name: "host", Image: "worker"}, {Name: "gateway", Image: "gateway"}},
		}
		return &commit{session: &session{cfg: cfg}}
	}
	for _, c := range []struct {
		name    string
		options buildOptions
		images  []string
	}{
		{"all without a name", buildOptions{}, []string{"gateway", "worker"}},
		{"the image that is named", buildOptions{image: "gateway"}, []string{"gateway"}},
		{"the image of a role", buildOptions{role: "host"}, []string{"worker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			commit := two()
			require.NoError(t, commit.narrow(c.options.image, c.options.role))
			require.Equal(t, c.images, commit.cfg.ImageNames())
		})
	}
	t.Run("the roles of an image stay together, for they are in its key", func(t *testing.T) {
		commit := two()
		require.NoError(t, commit.narrow("", "host"))
		require.Len(t, commit.cfg.Roles, 2)
	})
	for _, unknown := range []buildOptions{{image: "web"}, {role: "web"}} {
		var usage *usageError
		require.ErrorAs(t, two().narrow(unknown.image, unknown.role), &usage)
	}
}
