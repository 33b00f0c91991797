package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAKindThatTheServerDoesNotHaveIsNamed(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	for _, tc := range []struct{ name, doc, says, hint string }{
		{
			"of a group that nobody defines", "{apiVersion: keda.sh/v1alpha1, kind: ScaledJob, metadata: {name: j, namespace: $NS}}",
			"the server has no kind ScaledJob in keda.sh/v1alpha1", "the CustomResourceDefinition of ScaledJob.keda.sh is missing: install it, or put it among the role's manifests",
		},
		{
			"of a version that is gone", "{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: i, namespace: $NS}}",
			"the server has no kind Ingress in extensions/v1beta1", "correct apiVersion and kind: `kubectl api-resources` lists what the server has",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			role := roleOf(t, ns, digestOf("v1"), deployment("web", 1), tc.doc)
			_, err := c.Diff(t.Context(), role, options(t))
			require.ErrorContains(t, err, tc.says)
			var hinted interface{ Hint() string }
			require.ErrorAs(t, err, &hinted)
			require.Equal(t, tc.hint, hinted.Hint())
		})
	}
}
