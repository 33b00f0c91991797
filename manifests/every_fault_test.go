package manifests

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestEveryFaultOfARolesManifestsIsNamedAtOnce(t *testing.T) {
	cfg := config.Config{
		App:    "system-bus",
		Images: map[string]config.Image{"worker": {Repository: ownImage}},
		Roles: []config.Role{
			{Name: "cluster", Image: "worker", Kubernetes: &config.Kubernetes{Namespace: "joelclaw", Manifests: []string{"k8s", "gone.yaml", "more.yaml"}}},
			{Name: "other", Image: "worker", Kubernetes: &config.Kubernetes{Namespace: "joelclaw", Manifests: []string{"other.yaml"}}},
		},
	}
	tree := memory{
		"k8s/a.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {one: 1, two: x, three: 3}\n---\nkind: Secret\n---\n\tx\n"),
		"k8s/b.yaml": []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec:\n  containers: [{name: c, image: 'redis:7'}, {name: d, image: busybox}]\n  volumes: [{name: v, image: {reference: 'data:1'}}]\n"),
		"more.yaml":  []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: c, image: " + ownImage + "}]}\n"),
		"other.yaml": []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\nspec:\n  template:\n    spec: {containers: [{name: c, image: 'ghcr.io/old/worker:1'}]}\n"),
	}
	found, err := Check(cfg, tree)
	require.NoError(t, err)
	var got []string
	for _, f := range found {
		got = append(got, f.String())
	}
	require.Equal(t, []string{
		"cluster: BadManifest k8s/a.yaml:6: Secret: has no apiVersion",
		"cluster: BadManifest k8s/a.yaml:8: found character that cannot start any token",
		"cluster: BadManifest gone.yaml: is neither a file nor a folder of the commit",
		"cluster: BadManifest k8s/a.yaml:4: ConfigMap joelclaw/a: data.one: must be text, not the number 1",
		"cluster: BadManifest k8s/a.yaml:4: ConfigMap joelclaw/a: data.three: must be text, not the number 3",
		`cluster: ImageNotPinned k8s/b.yaml:1: Pod joelclaw/b: container c: image "redis:7" is not pinned by digest`,
		`cluster: ImageNotPinned k8s/b.yaml:1: Pod joelclaw/b: container d: image "busybox" is not pinned by digest`,
		`cluster: ImageNotPinned k8s/b.yaml:1: Pod joelclaw/b: volume v: image "data:1" is not pinned by digest`,
		"cluster: Duplicate more.yaml:1: Pod joelclaw/b: is declared twice, first in k8s/b.yaml:1",
		`other: ImageNotPinned other.yaml:1: Deployment joelclaw/w: container c: image "ghcr.io/old/worker:1" is not pinned by digest`,
		"other: ImageNotMentioned other.yaml: role other: no container runs " + ownImage,
	}, got)
}
