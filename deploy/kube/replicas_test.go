package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestReplicas(t *testing.T) {
	t.Parallel()
	c := connect(t)
	scale := func(t *testing.T, ns, manager string, to int32) {
		s, err := c.kube.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
		s.Spec.Replicas = to
		_, err = c.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: s.ObjectMeta, Spec: s.Spec}, metav1.UpdateOptions{FieldManager: manager})
		require.NoError(t, err)
	}
	for _, tc := range []struct {
		name, manager string
		ceded         bool
	}{
		{"an autoscaler's replicas are ceded", "kube-controller-manager", true},
		{"a person's replicas are not", "kubectl", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := namespace(t, c)
			v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1)), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
			_, _, err := roll(t, c, v1)
			require.NoError(t, err)
			scale(t, ns, tc.manager, 3)
			_, err = c.Apply(t.Context(), v2, options(t))
			require.NoError(t, err)
			if !tc.ceded {
				got, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
				require.NoError(t, err)
				require.EqualValues(t, 1, *got.Spec.Replicas)
				return
			}
			live, a, err := roll(t, c, v2)
			require.NoError(t, err)
			require.Equal(t, 3, live.Ready)
			require.False(t, changed(a), "what is ceded does not change the object again: %v", results(a))
			plan, err := c.Diff(t.Context(), v2, options(t))
			require.NoError(t, err)
			require.Empty(t, plan.Changes, "nor is it a difference")
		})
	}
}

func TestForceTakesNoReplicasFromAnAutoscaler(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1)), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
	_, _, err := roll(t, c, v1)
	require.NoError(t, err)
	s, err := c.kube.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	s.Spec.Replicas = 3
	_, err = c.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: s.ObjectMeta, Spec: s.Spec}, metav1.UpdateOptions{FieldManager: "kube-controller-manager"})
	require.NoError(t, err)
	o := options(t)
	o.policy.Force = true
	_, err = c.Apply(t.Context(), v2, o)
	require.NoError(t, err)
	got, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 3, *got.Spec.Replicas)
	require.Equal(t, v2.Reference(), imageOf(t, c, ns))
}
