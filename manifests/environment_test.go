package manifests

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// The three roles of an app have one image, and a part of their environment in common.
const threeRoles = `app: rig
images:
  worker:
    repository: ghcr.io/o/worker
    package: packages/worker
    base: docker.io/oven/bun:1.3.9@sha256:0000000000000000000000000000000000000000000000000000000000000000
    entrypoint: [bun, run, src/serve.ts]
roles:
  cluster:
    image: worker
    kubernetes: {namespace: rig}
    env: &common {WORKER_ROLE: of-cluster, ONLY_CLUSTER: of-cluster}
  host:
    image: worker
    host: {manager: launchd, service: com.o.worker}
    env:
      <<: *common
      WORKER_ROLE: of-host
      ONLY_HOST: of-host
  gateway:
    image: worker
    host: {manager: systemd, service: gateway}
    env: {ONLY_GATEWAY: of-gateway}
`

func TestTheEnvironmentOfARoleIsInItsOwnDefinitionOnly(t *testing.T) {
	cfg, err := config.Parse("shipit.yaml", []byte(threeRoles), "")
	require.NoError(t, err)
	rel := release.Release{App: "rig", SHA: strings.Repeat("a", 40)}
	for _, r := range cfg.Roles {
		rel.Roles = append(rel.Roles, release.Role{Name: r.Name, Target: r.Target(), Image: "worker", Repository: "ghcr.io/o/worker", Digest: "sha256:" + strings.Repeat("b", 64)})
	}
	rel, err = Complete(rel, cfg, nil)
	require.NoError(t, err)
	has := map[string]string{}
	for _, role := range rel.Roles {
		for _, object := range role.Objects {
			has[role.Name] += string(object)
		}
	}
	require.Contains(t, has["cluster"], "ONLY_CLUSTER")
	require.NotContains(t, has["cluster"], "of-host")
	require.Contains(t, has["host"], "ONLY_HOST")
	require.Contains(t, has["host"], "ONLY_CLUSTER", "it takes this over by name")
	for _, foreign := range []string{"of-cluster", "of-host", "ONLY_CLUSTER", "ONLY_HOST", "WORKER_ROLE"} {
		require.NotContains(t, has["gateway"], foreign)
	}
	require.NotContains(t, has["cluster"]+has["host"], "of-gateway")
}
