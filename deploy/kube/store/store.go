// Package store keeps the ledger of an app in a cluster: records in ConfigMaps, the
// lock in a Lease.
package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Store keeps the entries of an app's ledger in a namespace: one ConfigMap an
// entry, immutable once it is sealed, and a Lease as the lock. The API server
// arbitrates: a name is given once, and a stale resourceVersion is refused.
//
// It needs get, list, create, update and delete of configmaps, and get, create and
// update of leases. A missing namespace is a *NamespaceError when something is
// written, and holds no records when it is read.
type Store struct {
	client    *client.Client
	namespace string
	app       string
	makes     bool // the namespace, if there is none when the first lock is taken
}

// New is the store of an app in a namespace. It creates neither.
func New(c *client.Client, namespace, app string) *Store {
	return &Store{client: c, namespace: namespace, app: app}
}

// MakingNamespace is the same store, which makes a missing namespace when the first
// lock is taken: the manifests of a release may bring the namespace that its own lock
// is kept in.
func (s *Store) MakingNamespace() *Store {
	makes := *s
	makes.makes = true
	return &makes
}

// NamespaceError says that the namespace that is written to does not exist.
type NamespaceError struct{ Namespace string }

func (e *NamespaceError) Error() string { return fmt.Sprintf("there is no namespace %s", e.Namespace) }

// Hint says what to do.
func (e *NamespaceError) Hint() string {
	return "`kubectl create namespace " + e.Namespace + "` creates it"
}

const (
	entryLabel = "shipit.dev/entry" // record, or another kind
	pageSize   = 50                 // entries of one answer; each entry may have up to 1 MiB
)

var _ ledger.Dropper = (*Store)(nil)

// Location is the namespace's name.
func (s *Store) Location() string { return "namespace " + s.namespace }

// Create keeps a new entry; the version is "" if its name is taken. An answer that
// did not arrive is looked for: the entry may be there.
func (s *Store) Create(ctx context.Context, e ledger.StoredEntry) (version string, err error) {
	version, err = s.createOnce(ctx, e)
	var unanswered *client.UnreachableError
	if !errors.As(err, &unanswered) {
		return version, err
	}
	switch there, readErr := s.Read(ctx, e.Name); {
	case readErr != nil:
		return "", err
	case there.Version == "":
		return s.createOnce(ctx, e)
	case there.Sealed == e.Sealed && maps.EqualFunc(there.Parts, e.Parts, bytes.Equal):
		return there.Version, nil
	}
	return "", nil
}

func (s *Store) createOnce(ctx context.Context, e ledger.StoredEntry) (version string, err error) {
	cm := s.configMap(e)
	err = s.client.Create(ctx, client.ConfigMaps, s.namespace, cm, metav1.CreateOptions{FieldManager: object.Manager})
	if apierrors.IsAlreadyExists(err) {
		return "", nil
	}
	if err != nil {
		return "", s.explain(err)
	}
	return cm.ResourceVersion, nil
}

// Read returns an entry; its version is "" if there is none.
func (s *Store) Read(ctx context.Context, name string) (ledger.StoredEntry, error) {
	cm := &corev1.ConfigMap{}
	err := s.client.GetInto(ctx, client.ConfigMaps, s.namespace, s.prefix()+name, cm)
	if apierrors.IsNotFound(err) {
		return ledger.StoredEntry{}, nil
	}
	if err != nil {
		return ledger.StoredEntry{}, s.explain(err)
	}
	return entryOf(name, cm), nil
}

// Swap replaces an unsealed entry that still has the version of e.
func (s *Store) Swap(ctx context.Context, e ledger.StoredEntry) (version string, err error) {
	cm := s.configMap(e)
	cm.ResourceVersion = e.Version
	err = s.client.Update(ctx, client.ConfigMaps, s.namespace, cm.Name, cm)
	switch {
	case err == nil:
		return cm.ResourceVersion, nil
	case client.IsGone(err):
		return "", nil
	case apierrors.IsInvalid(err):
		// Either it is sealed, or what is written is not valid.
		if was, readErr := s.Read(ctx, e.Name); readErr == nil && was.Sealed {
			return "", nil
		}
	}
	return "", s.explain(err)
}

// Names lists the entries of a kind; only their metadata travels.
func (s *Store) Names(ctx context.Context, kind string) ([]string, error) {
	list, err := s.client.ListMetadata(ctx, client.ConfigMaps, s.namespace, metav1.ListOptions{LabelSelector: s.selector(kind)})
	if err != nil {
		return nil, s.explain(err)
	}
	names := make([]string, 0, len(list.Items))
	for _, item := range list.Items {
		if name, ok := strings.CutPrefix(item.Name, s.prefix()); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// Drop removes the entries of a kind that are chosen by their names.
func (s *Store) Drop(ctx context.Context, kind string, chosen func(name string) bool) error {
	list, err := s.client.ListMetadata(ctx, client.ConfigMaps, s.namespace, metav1.ListOptions{LabelSelector: s.selector(kind)})
	if err != nil {
		return s.explain(err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for _, item := range list.Items {
		name, ok := strings.CutPrefix(item.Name, s.prefix())
		if !ok || !chosen(name) {
			continue
		}
		group.Go(func() error {
			return s.client.Delete(gctx, client.ConfigMaps, object.ID{Kind: "ConfigMap", Namespace: s.namespace, Name: item.Name}, item.UID)
		})
	}
	return s.explain(group.Wait())
}

// Scan reads every entry of a kind, some at a time.
func (s *Store) Scan(ctx context.Context, kind string, each func(ledger.StoredEntry) error) error {
	err := s.client.EachConfigMap(ctx, s.namespace, metav1.ListOptions{LabelSelector: s.selector(kind), Limit: pageSize}, func(cm *corev1.ConfigMap) error {
		name, ok := strings.CutPrefix(cm.Name, s.prefix())
		if !ok {
			return nil
		}
		return each(entryOf(name, cm))
	})
	return s.explain(err)
}

func (s *Store) prefix() string { return "shipit-" + s.app + "-" }

func (s *Store) selector(kind string) string {
	return object.ManagedByLabel + "=" + object.Manager + "," + object.AppLabel + "=" + s.app + "," + entryLabel + "=" + entryKind(kind)
}

// entryKind is a kind as a label's value.
func entryKind(kind string) string {
	if kind == "" {
		return "record"
	}
	return kind
}

// configMap is an entry as it is kept. Parts that are text can be read with
// kubectl; the annotations are for people and never read back.
func (s *Store) configMap(e ledger.StoredEntry) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.prefix() + e.Name, Namespace: s.namespace,
			Labels: map[string]string{object.ManagedByLabel: object.Manager, object.AppLabel: s.app, entryLabel: entryKind(ledger.Kind(e.Name))},
		},
		Data: map[string]string{}, BinaryData: map[string][]byte{},
	}
	var rec release.Record
	if json.Unmarshal(e.Parts["record"], &rec) == nil && rec.SHA != "" {
		cm.Annotations = map[string]string{"shipit.dev/sha": rec.SHA, "shipit.dev/outcome": string(rec.Outcome), "shipit.dev/version": rec.Version}
	}
	if e.Sealed {
		cm.Immutable = &e.Sealed
	}
	for name, part := range e.Parts {
		if utf8.Valid(part) {
			cm.Data[name] = string(part)
		} else {
			cm.BinaryData[name] = part
		}
	}
	return cm
}

func entryOf(name string, cm *corev1.ConfigMap) ledger.StoredEntry {
	e := ledger.StoredEntry{
		Name: name, Parts: make(map[string][]byte, len(cm.Data)+len(cm.BinaryData)),
		Version: cm.ResourceVersion, Sealed: cm.Immutable != nil && *cm.Immutable,
	}
	for name, part := range cm.Data {
		e.Parts[name] = []byte(part)
	}
	for name, part := range cm.BinaryData {
		e.Parts[name] = part
	}
	return e
}

// explain names the namespace where that is what was not found.
func (s *Store) explain(err error) error {
	var status apierrors.APIStatus
	if apierrors.IsNotFound(err) && errors.As(err, &status) {
		if details := status.Status().Details; details != nil && details.Kind == "namespaces" {
			return &NamespaceError{Namespace: s.namespace}
		}
	}
	return err
}
