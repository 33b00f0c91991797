package kube

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	c := named(t)
	ns := namespace(t, c)
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: ns, Labels: map[string]string{"shipit.dev/app": "test"}}}
	_, err := c.kube.CoreV1().ConfigMaps(ns).Create(t.Context(), foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	const extra = `apiVersion: v1
kind: ConfigMap
metadata: {name: extra, namespace: $NS}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: $NS}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}`
	full, small := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service, extra), roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, err = c.Apply(t.Context(), full, options(t))
	require.NoError(t, err)
	other := small
	other.Name = "other"
	other.Objects = roleOf(t, ns, digestOf("v1"), deployment("second", 1)).Objects
	_, _, err = roll(t, c, other)
	require.NoError(t, err)

	t.Run("a plan shows what would go", func(t *testing.T) {
		plan, err := c.Diff(t.Context(), small, options(t))
		require.NoError(t, err)
		require.Equal(t, []apply.Change{{Object: object.ID{Kind: "ConfigMap", Namespace: ns, Name: "extra"}, Action: release.ActionPruned}, {Object: object.ID{Kind: "Service", Namespace: ns, Name: "web"}, Action: release.ActionPruned}}, plan.Changes)
	})
	broken := small
	broken.Objects = roleOf(t, ns, digestOf("v2"), deployment("web", 1, fate("missing"))).Objects
	t.Run("nothing goes while the new release does not serve", func(t *testing.T) {
		fail(t, c, broken, 30e9)
		_, err := c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("what the role no longer has goes when it serves; claims and what is not its own stay", func(t *testing.T) {
		_, _, err := roll(t, c, small)
		require.NoError(t, err)
		_, err = c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "extra", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
		_, err = c.kube.CoreV1().PersistentVolumeClaims(ns).Get(t.Context(), "data", metav1.GetOptions{})
		require.NoError(t, err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "foreign", metav1.GetOptions{})
		require.NoError(t, err)
		_, err = c.kube.AppsV1().Deployments(ns).Get(t.Context(), "second", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("the set's parent names the kinds that are left", func(t *testing.T) {
		parent := parentOf(t, c, ns)
		require.Equal(t, "Deployment.apps", parent.Annotations["applyset.kubernetes.io/contains-group-kinds"])
		require.Equal(t, apply.SetOf("test", "web", ns, nil).ID, parent.Labels["applyset.kubernetes.io/id"])
	})
	t.Run("what another role of the app has taken over stays", func(t *testing.T) {
		const shared = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared, namespace: $NS}}"
		_, _, err := roll(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 1), shared))
		require.NoError(t, err)
		plan, err := c.Diff(t.Context(), small, options(t))
		require.NoError(t, err)
		require.Equal(t, []apply.Change{{Object: object.ID{Kind: "ConfigMap", Namespace: ns, Name: "shared"}, Action: release.ActionPruned}}, plan.Changes)
		a, err := c.Apply(t.Context(), small, options(t))
		require.NoError(t, err)
		require.Equal(t, "ConfigMap,Deployment.apps", parentOf(t, c, ns).Annotations["applyset.kubernetes.io/contains-group-kinds"], "the parent names what is still to be pruned")
		other.Objects = append(other.Objects, roleOf(t, ns, digestOf("v1"), shared).Objects...)
		_, _, err = roll(t, c, other)
		require.NoError(t, err)
		_, err = c.Wait(t.Context(), small, a, Options{})
		require.NoError(t, err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "shared", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("what moves to a role that is still to come stays too", func(t *testing.T) {
		const moved = "{apiVersion: v1, kind: ConfigMap, metadata: {name: moved, namespace: $NS}}"
		_, _, err := roll(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 1), moved))
		require.NoError(t, err)
		before, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "moved", metav1.GetOptions{})
		require.NoError(t, err)
		next := other
		next.Objects = append(slices.Clone(other.Objects), roleOf(t, ns, digestOf("v1"), moved).Objects...)
		o := options(t)
		o.roles = []release.Role{small, next}
		plan, err := c.Diff(t.Context(), small, o)
		require.NoError(t, err)
		require.Empty(t, plan.Changes)
		for _, role := range o.roles {
			a, err := c.Apply(t.Context(), role, o)
			require.NoError(t, err)
			_, err = c.Wait(t.Context(), role, a, Options{})
			require.NoError(t, err)
		}
		after, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "moved", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, before.UID, after.UID)
		require.Equal(t, apply.SetOf("test", "other", ns, nil).ID, after.Labels[object.PartOfLabel])
	})
	t.Run("after that there is nothing to do", func(t *testing.T) {
		before, log := parentOf(t, c, ns), newRequests(t, c)
		require.Equal(t, "Deployment.apps", before.Annotations["applyset.kubernetes.io/contains-group-kinds"])
		_, a, err := roll(t, c, small)
		require.NoError(t, err)
		require.False(t, changed(a))
		counts := log.since()
		require.Zero(t, counts["patch"]+counts["delete"], "nothing is obsolete, and the parent says what it is to say: %v", counts)
		require.Equal(t, before.ResourceVersion, parentOf(t, c, ns).ResourceVersion)
	})
}

// parentOf is the parent of the ApplySet of the role web.
func parentOf(t *testing.T, c *user, ns string) *corev1.ConfigMap {
	t.Helper()
	parent, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "shipit-test.web", metav1.GetOptions{})
	require.NoError(t, err)
	return parent
}
