package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

const runner = `apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: $NS}`

// refusal ships and demands that exactly one finding refuses it.
func (a *app) refusal(bits string, parts ...part) release.Finding {
	a.t.Helper()
	_, err := a.tryShip(deploy.Terms{}, bits, parts...)
	var unchanged *deploy.UnchangedError
	require.ErrorAs(a.t, err, &unchanged)
	var refusal *release.Refusal
	require.ErrorAs(a.t, err, &refusal)
	require.Len(a.t, refusal.Findings, 1, "%s", err)
	return refusal.Findings[0]
}

func TestAnObjectThatIsAnothersIsNotTaken(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	first := part{"web", ns, []string{deployment("web", 1), runner}}
	second, without := part{"site", ns, []string{deployment("site", 1), runner}}, part{"site", ns, []string{deployment("site", 1)}}
	a, b := newApp(t, "first", first), newApp(t, "second", second)
	a.settled("v1", first)

	t.Run("one of another app refuses the release before the first write", func(t *testing.T) {
		f := b.refusal("v1", second)
		require.Equal(t, release.CodeForeignObject, f.Code)
		require.Equal(t, "ServiceAccount "+ns+"/runner", f.Object)
		require.Contains(t, f.Message, "role web of app first")
		require.Contains(t, f.Hint, "ForeignObject")
		require.False(t, b.exists(ns, "site"))
		a.inParity()
	})
	t.Run("a Deployment of one name is refused as well", func(t *testing.T) {
		f := b.refusal("v1", part{"site", ns, []string{deployment("web", 1)}})
		require.Equal(t, release.CodeForeignObject, f.Code)
		require.Equal(t, "Deployment "+ns+"/web", f.Object)
	})
	t.Run("it is taken over if that is allowed by name, and then the other app says so", func(t *testing.T) {
		record, err := b.tryShip(deploy.Terms{Allow: []release.Code{release.CodeForeignObject}}, "v1", second)
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome, record.Reason)
		require.True(t, record.Parity, record.Reason)
		b.inParity()
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, status.Record.Drift)
		require.Equal(t, release.CodeForeignObject, a.refusal("v2", first).Code)
	})
	t.Run("what the other app has taken back stays when the object is dropped", func(t *testing.T) {
		record, err := a.tryShip(deploy.Terms{Allow: []release.Code{release.CodeForeignObject}}, "v2", first)
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		b.settled("v2", without)
		_, err = c.kube.CoreV1().ServiceAccounts(ns).Get(t.Context(), "runner", metav1.GetOptions{})
		require.NoError(t, err)
		a.inParity()
	})
	for name, tc := range map[string]struct{ metadata, owner string }{
		"Helm":    {`{"annotations":{"meta.helm.sh/release-name":"blog","meta.helm.sh/release-namespace":"apps"},"labels":{"app.kubernetes.io/managed-by":"Helm"}}`, "Helm release apps/blog"},
		"Argo CD": {`{"annotations":{"argocd.argoproj.io/tracking-id":"shop:/ServiceAccount:x/tool"}}`, "Argo CD application shop"},
		"Flux":    {`{"labels":{"kustomize.toolkit.fluxcd.io/name":"infra","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}}`, "Flux Kustomization flux-system/infra"},
		"a set":   {`{"labels":{"applyset.kubernetes.io/part-of":"applyset-abc-v1"}}`, "ApplySet applyset-abc-v1"},
	} {
		t.Run("one of "+name+" is refused with its owner", func(t *testing.T) {
			ns := namespace(t, c)
			_, err := c.kube.CoreV1().ServiceAccounts(ns).Patch(t.Context(), "default", types.MergePatchType, []byte(`{"metadata":`+tc.metadata+`}`), metav1.PatchOptions{FieldManager: "tool"})
			require.NoError(t, err)
			taking := part{"web", ns, []string{deployment("web", 1), `apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: $NS}`}}
			f := newApp(t, "third", taking).refusal("v1", taking)
			require.Equal(t, release.CodeForeignObject, f.Code)
			require.Contains(t, f.Message, tc.owner)
		})
	}
}
