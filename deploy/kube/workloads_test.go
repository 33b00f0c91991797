package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/release"
)

func TestEveryKindOfWorkload(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for _, kind := range []string{"StatefulSet", "DaemonSet", "Job"} {
		t.Run("a "+kind+" is rolled out, found unchanged, and changed", func(t *testing.T) {
			ns := namespace(t, c)
			v1, v2 := roleOf(t, ns, digestOf("v1"), workload(kind)), roleOf(t, ns, digestOf("v2"), workload(kind))
			live, a, err := roll(t, c, v1)
			require.NoError(t, err)
			require.Equal(t, release.ActionCreated, a.Results[0].Action)
			if kind == "Job" {
				require.Zero(t, live.Desired, "a job serves nothing")
			} else {
				require.Equal(t, []string{v1.Digest}, live.Digests)
				require.Equal(t, live.Desired, live.Ready)
				require.NotZero(t, live.Ready)
			}

			_, a, err = roll(t, c, v1)
			require.NoError(t, err)
			require.Equal(t, release.ActionUnchanged, a.Results[0].Action)

			plan, err := c.Diff(t.Context(), v2, options(t))
			require.NoError(t, err)
			require.Empty(t, plan.Findings)
			live, a, err = roll(t, c, v2)
			require.NoError(t, err)
			want := release.ActionConfigured
			if kind == "Job" {
				want = release.ActionReplaced
			} else {
				require.Equal(t, []string{v2.Digest}, live.Digests)
				require.Equal(t, live.Desired, live.Ready)
			}
			require.Equal(t, want, a.Results[0].Action)
			require.Equal(t, want, plan.Changes[0].Action, "the plan said so")
		})
	}
}

func TestJobThatFails(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	doc := strings.Replace(workload("Job"), "spec:\n  template", "spec:\n  backoffLimit: 0\n  template", 1)
	doc = strings.Replace(doc, "image: $IMAGE", "image: $IMAGE, env: [{name: FIXTURE_FAULT, value: crash}]", 1)
	f, _ := fail(t, c, roleOf(t, ns, digestOf("v1"), doc), 2*time.Minute)
	require.Contains(t, []release.Code{release.CodeJobFailed, release.CodeDeadlineExceeded}, f.Code)
}

func TestAJobThatFailedRunsAgain(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	doc := strings.Replace(workload("Job"), "spec:\n  template", "spec:\n  backoffLimit: 0\n  template", 1)
	doc = strings.Replace(doc, "image: $IMAGE", "image: $IMAGE, env: [{name: FIXTURE_FAULT, value: crash}]", 1)
	role := roleOf(t, ns, digestOf("v1"), doc)
	fail(t, c, role, 2*time.Minute)
	jobs := c.kube.BatchV1().Jobs(ns)
	before, err := jobs.Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		plan, err := c.Diff(t.Context(), role, options(t))
		return err == nil && len(plan.Changes) == 1 && plan.Changes[0].Action == release.ActionReplaced
	}, time.Minute, 50*time.Millisecond, "the plan says so, once the Job has failed for good")
	a, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	require.Equal(t, release.ActionReplaced, a.Results[0].Action)
	after, err := jobs.Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, before.UID, after.UID)
}

// widget is a kind of the release's own.
const widget = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.$NS.test}
spec:
  group: $NS.test
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: $NS.test/v1
kind: Widget
metadata: {name: one, namespace: $NS}
spec: {size: 1}`

// deleteWidgets deletes the definition of the kind.
func deleteWidgets(ctx context.Context, u *user, ns string) error {
	return u.kube.CoreV1().RESTClient().Delete().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets." + ns + ".test").Do(ctx).Error()
}

func TestDefinitions(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	t.Cleanup(func() { _ = deleteWidgets(context.Background(), c, ns) })
	role := roleOf(t, ns, digestOf("v1"), widget)
	plan, err := c.Diff(t.Context(), role, options(t))
	require.NoError(t, err)
	require.Len(t, plan.Changes, 2, "a kind that is not there yet can be planned")

	_, a, err := roll(t, c, role)
	require.NoError(t, err)
	require.True(t, changed(a))
	_, a, err = roll(t, connect(t), role)
	require.NoError(t, err)
	require.False(t, changed(a))

	t.Run("an object whose kind the server lacks is named", func(t *testing.T) {
		_, err := c.Apply(t.Context(), roleOf(t, ns, digestOf("v1"), "{apiVersion: nope.test/v1, kind: Nope, metadata: {name: x, namespace: $NS}}"), options(t))
		require.ErrorContains(t, err, "Nope "+ns+"/x")
	})
	t.Run("an object of the kind is pruned, in a set that no release names the kind of any more", func(t *testing.T) {
		only := roleOf(t, ns, digestOf("v1"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: $NS}}")
		_, _, err := roll(t, connect(t), only)
		require.NoError(t, err)
		k, known, err := c.KindOf(schema.GroupKind{Group: ns + ".test", Kind: "Widget"})
		require.NoError(t, err)
		require.True(t, known)
		list, err := c.List(t.Context(), k, ns, "")
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func TestKindsThatNoReleaseNames(t *testing.T) {
	c := connect(t)
	t.Run("one of the core group is found, though /apis does not list that group", func(t *testing.T) {
		k, known, err := c.KindOf(schema.GroupKind{Kind: "Event"})
		require.NoError(t, err)
		require.True(t, known)
		require.Equal(t, "/api/v1/namespaces/x/events", k.Path("x", ""))
	})
	t.Run("one of another group is found in the version that the server prefers", func(t *testing.T) {
		k, known, err := c.KindOf(schema.GroupKind{Group: "apps", Kind: "ControllerRevision"})
		require.NoError(t, err)
		require.True(t, known)
		require.Equal(t, "/apis/apps/v1/namespaces/x/controllerrevisions", k.Path("x", ""))
	})
	t.Run("one that the server lacks is not there, which is no error", func(t *testing.T) {
		for _, gk := range []schema.GroupKind{{Kind: "Nope"}, {Group: "apps", Kind: "Nope"}, {Group: "nope.test", Kind: "Nope"}} {
			_, known, err := c.KindOf(gk)
			require.NoError(t, err)
			require.False(t, known, gk)
		}
	})
}
