package object

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestASlimWorkloadHasWhatIsReadOfIt(t *testing.T) {
	live := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": "web", "uid": "1", "managedFields": []any{map[string]any{"manager": "shipit"}}},
			"spec": map[string]any{
				"replicas": int64(2), "selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
				"template": map[string]any{
					"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
					"spec":     map[string]any{"containers": []any{map[string]any{"name": "web", "image": "web@sha256:1", "env": []any{map[string]any{"name": "A"}}}}},
				},
			},
			"status": map[string]any{"replicas": int64(2)},
		}}
	}
	whole := live()
	slim := SlimWorkload(whole)
	require.Equal(t, live(), whole, "it is not changed itself")
	require.Equal(t, map[string]any{"name": "web", "uid": "1"}, slim.Object["metadata"])
	require.Equal(t, live().Object["status"], slim.Object["status"])
	require.Equal(t, 2, Replicas(slim))
	require.Equal(t, []map[string]any{{"name": "web", "image": "web@sha256:1"}}, Containers(slim, "containers"))
	selector, _, _ := unstructured.NestedMap(slim.Object, "spec", "selector")
	require.Equal(t, map[string]any{"matchLabels": map[string]any{"app": "web"}}, selector)

	// The specification of another kind is its own.
	other := live()
	other.SetAPIVersion("example.com/v1")
	require.Equal(t, withoutManagedFields(other), SlimWorkload(other))
	require.Nil(t, SlimWorkload(nil))
}
