package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsOfAnEarlierRevisionDoNotCountAsReady: with equal bits their digest is the
// release's, and still they are not what was released.
func TestPodsOfAnEarlierRevisionDoNotCountAsReady(t *testing.T) {
	c := connect(t)
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, c)
			role := roleOf(t, ns, digestOf("v1"), workload(kind))
			live, _, err := roll(t, c, role)
			require.NoError(t, err)
			require.Positive(t, live.Ready)

			broken := roleOf(t, ns, digestOf("v1"), workload(kind)+"\n      nodeSelector: {no: such-node}")
			_, err = c.Apply(t.Context(), broken, options(t))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				pods, err := c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
				require.NoError(t, err)
				for _, p := range pods.Items {
					if len(p.Spec.NodeSelector) > 0 {
						return true
					}
				}
				return false
			}, time.Minute, 50*time.Millisecond)
			live, err = c.Observe(t.Context(), broken)
			require.NoError(t, err)
			require.Zero(t, live.Ready, "of %d", live.Desired)
			require.Equal(t, 1, live.Desired)
		})
	}
}
