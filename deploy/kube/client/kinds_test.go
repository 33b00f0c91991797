package client

import (
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestKindsOfAGroupOfManyVersions(t *testing.T) {
	groups := metav1.APIGroupList{Groups: []metav1.APIGroup{{
		Name: "many.test", Versions: []metav1.GroupVersionForDiscovery{{Version: "v1alpha1"}, {Version: "v2"}},
		PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v2"},
	}}}
	var away error
	k := newKinds(func(path string, into any) error {
		switch path {
		case "/apis":
			*into.(*metav1.APIGroupList) = groups
		case "/apis/many.test/v2":
			return away
		case "/apis/many.test/v1alpha1":
			*into.(*metav1.APIResourceList) = metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "olds", Kind: "Old", Namespaced: true}}}
		}
		return nil
	})
	t.Run("one that does not answer is an error, and not a kind that is gone", func(t *testing.T) {
		away = apierrors.NewServiceUnavailable("the server is currently unable to handle the request")
		_, known, err := k.any(schema.GroupKind{Group: "many.test", Kind: "Old"})
		require.ErrorIs(t, err, away)
		require.False(t, known)
	})
	t.Run("a kind is found in a version that is not the preferred one", func(t *testing.T) {
		away = nil
		found, known, err := k.any(schema.GroupKind{Group: "many.test", Kind: "Old"})
		require.NoError(t, err)
		require.True(t, known)
		require.Equal(t, "v1alpha1", found.GVR.Version)
	})
}
