package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	kubeclient "github.com/joelhooks/shipit/deploy/kube/client"
	kubestore "github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

const app = "system-bus"

// place is a store with what an attacker, or an accident, could do to it.
type place struct {
	store ledger.Store
	// forge makes an entry what it must not become; nil parts take it away.
	forge func(t *testing.T, name string, parts map[string][]byte)
	// loseLock removes the lock.
	loseLock func(t *testing.T)
	// reopen gives a child process what it needs to open the same store.
	reopen []string
	// folder is where it is; "" if it is in none.
	folder string
	// manifests is how many bytes of them a large release has here.
	manifests int
}

// onEveryStore runs a test on a fresh ledger in memory, in a folder and in a cluster.
func onEveryStore(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		test(t, inMemory())
	})
	onEveryLastingStore(t, test)
}

// onEveryLastingStore is onEveryStore for what other processes reach too.
func onEveryLastingStore(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("in a directory", func(t *testing.T) {
		t.Parallel()
		test(t, directory(t))
	})
	t.Run("in a cluster", func(t *testing.T) {
		t.Parallel()
		test(t, inCluster(t))
	})
}

func recreate(t *testing.T, store ledger.Store, name string, parts map[string][]byte) {
	t.Helper()
	if parts == nil {
		return
	}
	version, err := store.Create(t.Context(), ledger.StoredEntry{Name: name, Parts: parts, Sealed: true})
	require.NoError(t, err)
	require.NotEmpty(t, version)
}

func inMemory() place {
	store := ledgertest.NewStore()
	return place{
		store: store,
		forge: func(t *testing.T, name string, parts map[string][]byte) {
			store.Remove(name)
			recreate(t, store, name, parts)
		},
		loseLock:  func(*testing.T) { store.RemoveLock() },
		manifests: 3 << 20,
	}
}

func directory(t *testing.T) place {
	folder := t.TempDir()
	store := ledger.NewDirectory(folder, app)
	path := func(name string) string { return filepath.Join(folder, app, name+".json") }
	return place{
		store: store,
		forge: func(t *testing.T, name string, parts map[string][]byte) {
			require.NoError(t, os.Remove(path(name)))
			recreate(t, store, name, parts)
		},
		loseLock: func(t *testing.T) { require.NoError(t, os.Remove(path("lock"))) },
		reopen:   []string{"LEDGER_FOLDER=" + folder},
		folder:   folder,

		manifests: 3 << 20,
	}
}

func inCluster(t *testing.T) place {
	c := testCluster(t)
	namespace := newNamespace(t, shared.kubeconfig)
	store := kubestore.New(c, namespace, app)
	maps := client(t, shared.kubeconfig).CoreV1().ConfigMaps(namespace)
	return place{
		store: store,
		forge: func(t *testing.T, name string, parts map[string][]byte) {
			require.NoError(t, maps.Delete(t.Context(), "shipit-"+app+"-"+name, metav1.DeleteOptions{}))
			recreate(t, store, name, parts)
		},
		loseLock: func(t *testing.T) {
			leases := client(t, shared.kubeconfig).CoordinationV1().Leases(namespace)
			require.NoError(t, leases.Delete(t.Context(), "shipit-"+app, metav1.DeleteOptions{}))
		},
		reopen: []string{"KUBECONFIG=" + shared.kubeconfig, "LEDGER_NAMESPACE=" + namespace},

		manifests: 20 << 20,
	}
}

// shared is the one control plane of this test binary.
var shared struct {
	once       sync.Once
	up         *cluster.Cluster
	kubeconfig string
	err        error
}

func TestMain(m *testing.M) {
	switch os.Getenv("LEDGER_CHILD") {
	case "hold":
		holdForEver()
		return
	case "seal":
		settleWhenTold()
		return
	}
	os.Exit(runTests(m))
}

// runTests keeps what holders leave while they hold a lock in a folder of its own.
func runTests(m *testing.M) int {
	folder, err := os.MkdirTemp("", "ledger-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	os.Setenv("TMPDIR", folder)
	code := m.Run()
	if shared.up != nil {
		if err := shared.up.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

func testCluster(t *testing.T) *kubeclient.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs a Kubernetes API server")
	}
	shared.once.Do(func() {
		shared.up, shared.err = cluster.Up(context.Background(), cluster.Options{})
		if shared.err == nil {
			shared.kubeconfig = shared.up.Kubeconfig
		}
	})
	require.NoError(t, shared.err)
	return connect(t, shared.kubeconfig)
}

func connect(t *testing.T, kubeconfig string) *kubeclient.Client {
	t.Helper()
	c, err := kubeclient.Connect(kubeclient.Options{Kubeconfig: kubeconfig})
	require.NoError(t, err)
	return c
}

// client is client-go's own client, for what only tests do.
func client(t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	made, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	return made
}

func newNamespace(t *testing.T, kubeconfig string) string {
	t.Helper()
	ns, err := client(t, kubeconfig).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "ledger-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	return ns.Name
}

// childStore is the store of a child process.
func childStore() ledger.Store {
	namespace := os.Getenv("LEDGER_NAMESPACE")
	if namespace == "" {
		return ledger.NewDirectory(os.Getenv("LEDGER_FOLDER"), app)
	}
	c, err := kubeclient.Connect(kubeclient.Options{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		panic(err)
	}
	return kubestore.New(c, namespace, app)
}

// holdForEver is a child process: it takes the lock, begins a release, says so,
// and waits to be killed.
func holdForEver() {
	ctx := context.Background()
	l := ledger.New(childStore(), app, ledger.Options{})
	lock, err := l.Lock(ctx, ledger.LockOptions{Holder: "the killed run", TTL: time.Minute})
	if err != nil {
		panic(err)
	}
	begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(9)})
	if err != nil {
		panic(err)
	}
	fmt.Println("begun", begun.Record.Seq)
	select {}
}

// version is the n-th release of the sample.
func version(n int) release.Release {
	digest := func(image string) string { return fmt.Sprintf("sha256:%s%063d", image, n) }
	return release.Release{
		Kind: release.KindRelease, SHA: strings.Repeat(fmt.Sprintf("%08x", n), 5), Version: fmt.Sprintf("1.%d.0", n),
		Roles: []release.Role{
			{Name: "cluster", Target: release.TargetKubernetes, Image: "worker", Repository: "registry/worker", Digest: digest("a"), Objects: []json.RawMessage{
				json.RawMessage(`{"image":"registry/worker@` + digest("a") + `","kind":"Deployment"}`),
				json.RawMessage(`{"args":"a<b && c>d","kind":"Service"}`),
			}},
			{Name: "host", Target: release.TargetHost, Image: "worker", Repository: "registry/worker", Digest: digest("a")},
		},
	}
}

func take(t *testing.T, l *ledger.Ledger) *ledger.Lock {
	t.Helper()
	return takeWith(t, l, ledger.View{})
}

func takeWith(t *testing.T, l *ledger.Ledger, view ledger.View) *ledger.Lock {
	t.Helper()
	lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute, View: view})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lock.Unlock(context.Background())) })
	return lock
}

// settled ships the n-th release and returns its record as it was settled.
func settled(t *testing.T, l *ledger.Ledger, lock *ledger.Lock, n int) release.Record {
	t.Helper()
	begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(n)})
	require.NoError(t, err)
	_, err = l.SignEarlier(t.Context(), begun)
	require.NoError(t, err)
	rec := begun.Record
	rec.Outcome, rec.Parity, rec.SettledAt = release.Settled, true, rec.StartedAt.Add(time.Second)
	sealed, err := l.Seal(t.Context(), begun, rec)
	require.NoError(t, err)
	_, err = l.Sign(t.Context(), sealed)
	require.NoError(t, err)
	return rec
}

func seal(ctx context.Context, l *ledger.Ledger, begun ledger.Begun, rec release.Record) error {
	_, err := l.Seal(ctx, begun, rec)
	return err
}

func withdraw(ctx context.Context, l *ledger.Ledger, lock *ledger.Lock, seq int64, reason string) error {
	sealed, err := l.Withdraw(ctx, lock, seq, reason)
	if err != nil {
		return err
	}
	_, err = l.Sign(ctx, sealed...)
	return err
}

func requireWhole(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	faults, err := l.Verify(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, faults)
}
