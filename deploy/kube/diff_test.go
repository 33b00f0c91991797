package kube

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestDiff(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	before := roleOf(t, ns, digestOf("v1"), deployment("web", 1), "{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: $NS}, data: {token: b2xkb2xk}}")
	_, _, err := roll(t, c, before)
	require.NoError(t, err)

	t.Run("changes are shown by field, and secrets are not", func(t *testing.T) {
		after := roleOf(t, ns, digestOf("v2"), deployment("web", 2), "{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: $NS}, data: {token: bmV3bmV3}}", service)
		plan, err := c.Diff(t.Context(), after, options(t))
		require.NoError(t, err)
		require.Equal(t, []apply.Change{
			{Object: object.ID{Group: "apps", Kind: "Deployment", Namespace: ns, Name: "web"}, Action: release.ActionConfigured, Fields: []release.FieldChange{
				{Path: "spec.replicas", Live: "1", Wanted: "2"},
				{Path: "spec.template.spec.containers[main].image", Live: repository + "@" + digestOf("v1"), Wanted: repository + "@" + digestOf("v2")},
			}},
			{Object: object.ID{Kind: "Secret", Namespace: ns, Name: "keys"}, Action: release.ActionConfigured, Fields: []release.FieldChange{{Path: "data.token", Live: "(hidden)", Wanted: "(hidden, changed)"}}},
			{Object: object.ID{Kind: "Service", Namespace: ns, Name: "web"}, Action: release.ActionCreated},
		}, plan.Changes)
		require.Equal(t, repository+"@"+digestOf("v1"), imageOf(t, c, ns), "nothing was changed")
	})
	for _, tc := range []struct{ name, doc, code, message string }{
		{"an invalid value is named by its field", deployment("web", -1), "InvalidObject", "spec.replicas: Invalid value"},
		{"an unknown field is named", deployment("web", 1) + "\n      hostNetwrk: true", "InvalidObject", "hostNetwrk"},
		{"a missing namespace is named", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: nowhere-at-all}}", "NamespaceMissing", `"nowhere-at-all" not found`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan, err := c.Diff(t.Context(), roleOf(t, ns, digestOf("v2"), tc.doc), options(t))
			require.NoError(t, err)
			require.Len(t, plan.Findings, 1)
			require.EqualValues(t, tc.code, plan.Findings[0].Code)
			require.Contains(t, plan.Findings[0].Message, tc.message)
			require.True(t, plan.Findings[0].Fixed)
		})
	}
	t.Run("what stands in a namespace of the same release can be planned", func(t *testing.T) {
		doc := "{apiVersion: v1, kind: Namespace, metadata: {name: kube-test-new}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-test-new}}"
		plan, err := c.Diff(t.Context(), roleOf(t, ns, digestOf("v2"), doc), options(t))
		require.NoError(t, err)
		require.Empty(t, plan.Findings)
		require.Equal(t, []apply.Change{
			{Object: object.ID{Kind: "Namespace", Name: "kube-test-new"}, Action: release.ActionCreated},
			{Object: object.ID{Kind: "ConfigMap", Namespace: "kube-test-new", Name: "x"}, Action: release.ActionCreated},
		}, plan.Changes)
	})
}
