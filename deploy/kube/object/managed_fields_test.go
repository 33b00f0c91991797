package object

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const managed = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","generation":3,"managedFields":[
	{"manager":"shipit","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:key":{}}}},
	{"manager":"kubectl-edit","operation":"Update","apiVersion":"v1","subresource":"status"}]},"data":{"key":"1"},"number":1.5}`

func TestAnObjectIsReadWithItsManagedFields(t *testing.T) {
	var whole unstructured.Unstructured
	require.NoError(t, whole.UnmarshalJSON([]byte(managed)))
	got, err := Decode([]byte(managed))
	require.NoError(t, err)
	require.Equal(t, whole.GetManagedFields(), ManagedFields(&got))
	require.Equal(t, whole.GetManagedFields(), ManagedFields(&whole))

	bare := withoutManagedFields(&got)
	require.Equal(t, withoutManagedFields(&whole), bare)
	require.Nil(t, bare.GetManagedFields())
	require.Equal(t, int64(3), bare.GetGeneration())
	require.NotEmpty(t, ManagedFields(&got), "the object itself keeps them")
	require.Nil(t, withoutManagedFields(nil))

	typed, err := As[corev1.ConfigMap](&got)
	require.NoError(t, err)
	require.Equal(t, "1", typed.Data["key"])
	require.Equal(t, got, *got.DeepCopy())
}

func TestWhatIsNoObjectIsNotRead(t *testing.T) {
	for _, text := range []string{`null`, `[]`, `"a"`, `{"metadata":1}`, `{"metadata":null}`, `{`, ``} {
		_, err := Decode([]byte(text))
		require.Error(t, err, text)
	}
	got, err := Decode([]byte(`{"kind":"Any"}`))
	require.NoError(t, err)
	require.Empty(t, ManagedFields(&got))
	require.Same(t, &got, withoutManagedFields(&got))
}
