package kube

import (
	"cmp"
	"context"
	"crypto/sha1"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/release"
)

// app is an engine over the shared cluster, with its ledger there, whose roles'
// objects are rendered as `shipit release` renders them.
type app struct {
	deploy.Engine
	t           *testing.T
	user        *user
	mu          sync.Mutex
	notes       []string // what was reported as a note
	ledger      string   // namespace of the records, as the configuration says
	count       int      // of releases: every one is of a commit of its own
	kubeconfig  string   // default: that of the cluster's administrator
	environment string   // that --env names
}

// part is one role of a test's release.
type part struct {
	name, namespace string
	docs            []string // YAML; $NS and $IMAGE are filled in
}

// newApp is an app whose configuration has the roles of those parts.
func newApp(t *testing.T, name string, parts ...part) *app {
	t.Helper()
	a := &app{t: t, user: connect(t)}
	a.configure(name, parts...)
	return a
}

// configure gives the app another configuration, as a new commit would.
func (a *app) configure(name string, parts ...part) {
	a.t.Helper()
	cfg := config.Config{Path: "shipit.yaml", App: name, Ledger: a.ledger, Environment: a.environment}
	for _, p := range parts {
		cfg.Roles = append(cfg.Roles, p.role())
	}
	opened, err := Open(a.t.Context(), cfg, Options{Kubeconfig: cmp.Or(a.kubeconfig, plane.path), Timeout: 2 * time.Minute, Progress: a.report})
	require.NoError(a.t, err)
	a.Engine = deploy.Engine{Config: cfg, Targets: map[release.Target]deploy.Target{release.TargetKubernetes: opened},
		Ledger: ledger.New(opened.Store(), name, ledger.Options{Progress: a.report}), Timeout: 2 * time.Minute, Progress: a.report,
		Lock: ledger.LockOptions{TTL: 2 * time.Minute}} // a busy API server may answer late
}

func (a *app) report(e release.Event) {
	progress(a.t)(e)
	if e.Mark == release.MarkNote {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.notes = append(a.notes, e.Message)
	}
}

func (a *app) noted() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.notes, "\n")
}

// briefly is the stable time of roles here. What that time is for has tests of its own.
const briefly = config.Duration(time.Millisecond)

func (p part) role() config.Role {
	return config.Role{Name: p.name, Image: "app", Stable: briefly, Kubernetes: &config.Kubernetes{Namespace: p.namespace, Manifests: []string{p.name + ".yaml"}}}
}

// files is a commit's tree.
type files map[string]string

func (f files) ReadFile(name string) ([]byte, error) { return []byte(f[name]), nil }

func (f files) List(at string) ([]string, error) {
	if _, ok := f[path.Clean(at)]; ok {
		return []string{path.Clean(at)}, nil
	}
	return nil, nil
}

// release renders parts as one release. The image of every role is that of bits.
func (a *app) release(bits string, parts ...part) release.Release {
	a.t.Helper()
	a.count++
	rel := release.Release{App: a.Config.App, Kind: release.KindRelease, SHA: fmt.Sprintf("%x", sha1.Sum([]byte{byte(a.count)})), Version: fmt.Sprintf("1.0.%d", a.count)}
	cfg, tree := config.Config{App: rel.App, Images: map[string]config.Image{"app": {Repository: repository}}}, files{}
	for _, p := range parts {
		cfg.Roles = append(cfg.Roles, p.role())
		tree[p.name+".yaml"] = strings.NewReplacer("$NS", p.namespace, "$IMAGE", repository+":v1").Replace(strings.Join(p.docs, "\n---\n"))
		rel.Roles = append(rel.Roles, release.Role{Name: p.name, Target: release.TargetKubernetes, Image: "app", Repository: repository, Digest: digestOf(bits)})
	}
	rel, err := manifests.Complete(rel, cfg, tree)
	require.NoError(a.t, err)
	return rel
}

// ship configures the parts, releases them and gives the record.
func (a *app) ship(bits string, parts ...part) release.Record {
	a.t.Helper()
	record, err := a.tryShip(deploy.Terms{}, bits, parts...)
	require.NoError(a.t, err)
	return record
}

func (a *app) tryShip(terms deploy.Terms, bits string, parts ...part) (release.Record, error) {
	a.t.Helper()
	a.configure(a.Config.App, parts...)
	var err error
	terms.History, err = a.Read(a.t.Context())
	require.NoError(a.t, err)
	return a.Release(a.t.Context(), a.release(bits, parts...), terms)
}

// settled ships and demands parity, now and by status.
func (a *app) settled(bits string, parts ...part) release.Record {
	a.t.Helper()
	record := a.ship(bits, parts...)
	require.Equal(a.t, release.Settled, record.Outcome, record.Reason)
	require.True(a.t, record.Parity, record.Reason)
	a.inParity()
	return record
}

// inParity demands that status finds no drift.
func (a *app) inParity() {
	a.t.Helper()
	status, err := a.Status(a.t.Context())
	require.NoError(a.t, err)
	require.Empty(a.t, status.Record.Drift)
	require.True(a.t, status.Record.Parity)
}

// exists reports whether a Deployment exists.
func (a *app) exists(namespace, name string) bool {
	a.t.Helper()
	_, err := a.user.kube.AppsV1().Deployments(namespace).Get(a.t.Context(), name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(a.t, err)
	}
	return err == nil
}

// configMaps are the names of those in a namespace that are not of records.
func (a *app) configMaps(namespace string) []string {
	a.t.Helper()
	list, err := a.user.kube.CoreV1().ConfigMaps(namespace).List(a.t.Context(), metav1.ListOptions{LabelSelector: "!shipit.dev/entry"})
	require.NoError(a.t, err)
	var names []string
	for _, item := range list.Items {
		if item.Name != "kube-root-ca.crt" {
			names = append(names, item.Name)
		}
	}
	return names
}

func deleteNamespace(t *testing.T, u *user, name string) {
	t.Cleanup(func() {
		_ = u.kube.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}
