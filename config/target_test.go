package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

func TestARoleSaysItsTarget(t *testing.T) {
	require.Equal(t, release.TargetKubernetes, config.Role{Kubernetes: &config.Kubernetes{}}.Target())
	require.Equal(t, release.TargetHost, config.Role{Host: &config.Host{}}.Target())
	require.Empty(t, config.Role{}.Target())
}
