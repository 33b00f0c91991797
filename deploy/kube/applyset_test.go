package kube

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestApplySetsOfRolesWhoseNamesJoinEqually(t *testing.T) {
	t.Parallel()
	c := connect(t)
	t.Run("app web role api-worker and app web-api role worker leave each other's objects alone", func(t *testing.T) {
		ns := namespace(t, c)
		one, other := part{"api-worker", ns, []string{deployment("one", 1), service}}, part{"worker", ns, []string{deployment("other", 1)}}
		a, b := newApp(t, "web", one), newApp(t, "web-api", other)
		a.settled("v1", one)
		b.settled("v1", other)
		require.True(t, a.exists(ns, "one"))
		one.docs = one.docs[:1]
		a.settled("v2", one)
		require.True(t, a.exists(ns, "other"))
		_, err := c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "what a role has no more is found by the parent of its own set")
		a.inParity()
		b.inParity()
	})
	t.Run("a role 000001 and the first record have names of their own", func(t *testing.T) {
		ns := namespace(t, c)
		role := part{"000001", ns, []string{deployment("web", 1)}}
		a := newApp(t, "numbers", role)
		a.settled("v1", role)
		require.EqualValues(t, 2, a.settled("v2", role).Seq)
		a.settled("v3", part{"web", ns, role.docs})
		first, err := a.Ledger.Read(t.Context(), 1)
		require.NoError(t, err, "the first record is there, though the parent of the role is not")
		require.Equal(t, release.Settled, first.Record.Outcome)
		require.Equal(t, []string{"shipit-numbers.web"}, a.configMaps(ns))
	})
}

func TestAnObjectThatTwoRolesBringEqually(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	const shared = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: $NS}\ndata: {a: b}"
	web, worker := part{"web", ns, []string{deployment("web", 1)}}, part{"worker", ns, []string{deployment("worker", 1)}}
	a := newApp(t, "shared", web, worker)
	web.docs, worker.docs = append(web.docs, shared), append(worker.docs, shared)
	uid := func() types.UID {
		settings, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "shared", metav1.GetOptions{})
		require.NoError(t, err)
		return settings.UID
	}
	a.settled("v1", web, worker)
	before := uid()
	web.docs = web.docs[:1]
	a.settled("v2", web, worker)
	require.Equal(t, before, uid(), "it goes over to the other role, and is there all the time")
	worker.docs = worker.docs[:1]
	a.settled("v3", web, worker)
	require.Equal(t, []string{"shipit-shared.web", "shipit-shared.worker"}, a.configMaps(ns))
}

func TestApplySetUnderItsFormerName(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	both, one := part{"web", ns, []string{deployment("web", 1), service}}, part{"web", ns, []string{deployment("web", 1)}}
	a := newApp(t, "old", both)
	a.settled("v1", both)

	// What an earlier version of shipit left: the set by its former name, and beside it
	// an object of the role worker of an app old-web, whose set had the same id.
	maps := c.kube.CoreV1().ConfigMaps(ns)
	parent, err := maps.Get(t.Context(), "shipit-old.web", metav1.GetOptions{})
	require.NoError(t, err)
	id := sha256.Sum256([]byte("shipit-old-web." + ns + ".ConfigMap."))
	label := "applyset-" + base64.RawURLEncoding.EncodeToString(id[:]) + "-v1"
	parent.ObjectMeta = metav1.ObjectMeta{Name: "shipit-old-web", Labels: parent.Labels, Annotations: parent.Annotations}
	parent.Labels["applyset.kubernetes.io/id"] = label
	_, err = maps.Create(t.Context(), parent, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.Delete(t.Context(), "shipit-old.web", metav1.DeleteOptions{}))
	entry, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	objects, err := c.Parse(entry.Release().Roles[0])
	require.NoError(t, err)
	for _, o := range objects {
		o.Body.SetLabels(labels.Merge(o.Body.GetLabels(), labels.Set{object.PartOfLabel: label}))
		_, err := c.Client.Apply(t.Context(), o, o.Body.Object, client.ApplyOptions{})
		require.NoError(t, err)
	}
	_, err = c.kube.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs", Labels: map[string]string{"applyset.kubernetes.io/part-of": label, "shipit.dev/app": "old-web", "shipit.dev/role": "worker"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)

	a.inParity()
	a.settled("v2", one)
	_, err = c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "it is known by its former label, and pruned")
	_, err = c.kube.CoreV1().Services(ns).Get(t.Context(), "theirs", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"shipit-old.web"}, a.configMaps(ns))
}
