package compare

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoseEntriesHaveChangedAPod(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	made := func(owner string) metav1.ManagedFieldsEntry {
		return entry("k8s", "", `{"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"`+owner+`\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:image":{},"f:name":{}}}}}`)
	}
	image := entry("kubectl-edit", "", `{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{"f:image":{}}}}}`)
	resized := entry("kubectl", "resize", `{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{"f:resources":{"f:limits":{"f:cpu":{}}}}}}}`)
	labelled := entry("kubectl-label", "", `{"f:metadata":{"f:labels":{"f:spec":{}}}}`)
	status := entry("odd", "status", `{"f:status":{"f:phase":{}},"f:spec":{}}`)
	controller := entry("kube-controller-manager", "", image.FieldsV1.String())

	var patches Patches
	for range 2 { // what was read before is told again
		require.Empty(t, patches.Of([]metav1.ManagedFieldsEntry{made("a"), labelled, status, controller}))
		require.Empty(t, patches.Of([]metav1.ManagedFieldsEntry{made("b")}))
		require.Equal(t, []metav1.ManagedFieldsEntry{image, resized}, patches.Of([]metav1.ManagedFieldsEntry{made("b"), image, labelled, resized}))
	}
	require.Len(t, patches.read, 4, "the pods of two controllers are read once")
}
