package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

// The scale subresource leaves a zero without a field manager: nothing but the number
// itself tells that somebody has scaled a workload to nothing.
func TestARoleThatIsScaledToNothingIsNotInParity(t *testing.T) {
	t.Parallel()
	c := connect(t)
	open := strings.Replace(deployment("web", 2), "  replicas: 2\n", "", 1)
	scale := func(t *testing.T, ns string, to int32) {
		t.Helper()
		_, err := c.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns}, Spec: autoscalingv1.ScaleSpec{Replicas: to}}, metav1.UpdateOptions{FieldManager: "kubectl"})
		require.NoError(t, err)
	}
	sleeper := strings.Replace(autoscaler(2), "metadata: {name: web, namespace: $NS}", "metadata: {name: web, namespace: $NS, ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: web, uid: 2d1b9a8e-6b9c-4c70-8d0c-0a5ba0b44d11}]}", 1)
	for _, tc := range []struct {
		name    string
		objects []string
		drift   string
	}{
		{"where the release states its replicas", []string{deployment("web", 2)}, "live 0 (Deployment"},
		{"where it leaves them open", []string{open}, "live 0 (Deployment"},
		{"where an autoscaler keeps at least two", []string{open, autoscaler(2)}, "live 0 (Deployment"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := namespace(t, c)
			web := part{"web", ns, tc.objects}
			a := newApp(t, "none-"+ns[len(ns)-5:], web)
			a.settled("v1", web)
			scale(t, ns, 0)
			status, err := a.Status(t.Context())
			require.NoError(t, err)
			require.False(t, status.Record.Parity)
			require.Contains(t, driftsOf(status.Record), tc.drift)
			// Until the pods are gone the Deployment still calls them ready.
			require.Eventually(t, func() bool { return deploymentOf(t, c, ns).Status.Replicas == 0 }, time.Minute, 20*time.Millisecond)
			a.settled("v1", web)
			require.NotZero(t, *deploymentOf(t, c, ns).Spec.Replicas)
		})
	}
	t.Run("unless what scales it goes down to none", func(t *testing.T) {
		ns := namespace(t, c)
		web := part{"web", ns, []string{open, sleeper}}
		a := newApp(t, "none-"+ns[len(ns)-5:], web)
		a.settled("v1", web)
		scale(t, ns, 0)
		a.inParity()
	})
	t.Run("and every other number is left to whoever scales", func(t *testing.T) {
		ns := namespace(t, c)
		web := part{"web", ns, []string{open}}
		a := newApp(t, "none-"+ns[len(ns)-5:], web)
		a.settled("v1", web)
		scale(t, ns, 3)
		a.settled("v2", web)
		require.EqualValues(t, 3, *deploymentOf(t, c, ns).Spec.Replicas)
	})
}

func driftsOf(record release.Record) string {
	var lines []string
	for _, d := range record.Drift {
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n")
}
