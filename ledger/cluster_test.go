package ledger_test

import (
	"context"
	"io"
	"log"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	kubeclient "github.com/joelhooks/shipit/deploy/kube/client"
	kubestore "github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

type readCloser struct{ io.Reader }

func (readCloser) Close() error { return nil }

func TestTheStoreInACluster(t *testing.T) {
	c := testCluster(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Store { return kubestore.New(c, newNamespace(t, shared.kubeconfig), app) })
}

func TestAMissingNamespaceIsNamed(t *testing.T) {
	c := testCluster(t)
	l := ledger.New(kubestore.New(c, "nowhere", app), app, ledger.Options{})
	records, err := l.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, records)
	_, err = l.Lock(t.Context(), ledger.LockOptions{})
	var missing *kubestore.NamespaceError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "nowhere", missing.Namespace)
	require.Contains(t, missing.Hint(), "kubectl create namespace nowhere")
}

func TestWhatTheCallerMayNotDoIsNamed(t *testing.T) {
	testCluster(t)
	namespace := newNamespace(t, shared.kubeconfig)
	nobody, err := clientcmd.LoadFromFile(shared.kubeconfig)
	require.NoError(t, err)
	for _, user := range nobody.AuthInfos {
		user.Impersonate = "nobody"
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*nobody, path))
	l := ledger.New(kubestore.New(connect(t, path), namespace, app), app, ledger.Options{})

	var forbidden *kubeclient.ForbiddenError
	_, err = l.Lock(t.Context(), ledger.LockOptions{})
	require.ErrorAs(t, err, &forbidden)
	require.Equal(t, "get", forbidden.Verb)
	require.Equal(t, "leases.coordination.k8s.io", forbidden.Resource)
	require.Equal(t, namespace, forbidden.Namespace)
	_, err = l.List(t.Context(), 0, 0)
	require.ErrorAs(t, err, &forbidden)
	require.Equal(t, "list", forbidden.Verb)
	require.Equal(t, "configmaps", forbidden.Resource)
}

func TestARecordWithoutItsLabelsIsStillListed(t *testing.T) {
	c := testCluster(t)
	namespace := newNamespace(t, shared.kubeconfig)
	l := threeRecords(t, place{store: kubestore.New(c, namespace, app)}, ledger.Options{})
	for _, name := range []string{"shipit-system-bus-000003", "shipit-system-bus-000002"} {
		_, err := client(t, shared.kubeconfig).CoreV1().ConfigMaps(namespace).Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	records, err := l.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 3)
	requireWhole(t, l)
}

func TestAnOutcomeIsKeptThroughARestartOfTheAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a Kubernetes API server")
	}
	up, err := cluster.Up(t.Context(), cluster.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Down(context.Background())) })
	c := connect(t, up.Kubeconfig)
	l := ledger.New(kubestore.New(c, newNamespace(t, up.Kubeconfig), app), app, ledger.Options{})
	lock := take(t, l)
	begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
	require.NoError(t, err)
	rec := begun.Record
	ctx, stop := lock.Context(t.Context())
	defer stop()

	require.NoError(t, up.StopAPIServer(t.Context()))
	rec.Outcome, rec.Parity = release.Settled, true
	kept := make(chan error, 1)
	go func() { kept <- seal(context.WithoutCancel(ctx), l, begun, rec) }()
	select {
	case err := <-kept:
		require.Failf(t, "it cannot have been kept", "%v", err)
	case <-time.After(time.Second):
	}
	require.NoError(t, up.StartAPIServer(t.Context()))
	require.NoError(t, <-kept)
	require.NoError(t, ctx.Err(), "the lock outlives a restart that is shorter than its TTL")
	requireWhole(t, l)
}
