package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Store keeps the entries of an app's ledger in a namespace: one ConfigMap an
// entry, immutable once it is sealed, and a Lease as the lock. The API server
// arbitrates: a name is given once, and a stale resourceVersion is refused.
//
// It needs get, list, create and update of configmaps, and get, create and
// update of leases. A missing namespace is a *NamespaceError when something is
// written, and holds no records when it is read.
type Store struct {
	cluster   *Cluster
	namespace string
	app       string
}

// NewStore is the store of an app in a namespace. It makes neither.
func NewStore(c *Cluster, namespace, app string) *Store {
	return &Store{cluster: c, namespace: namespace, app: app}
}

// NamespaceError says that the namespace that is written to is not there.
type NamespaceError struct{ Namespace string }

func (e *NamespaceError) Error() string { return fmt.Sprintf("there is no namespace %s", e.Namespace) }

// Hint says what to do.
func (e *NamespaceError) Hint() string {
	return "`kubectl create namespace " + e.Namespace + "` makes it"
}

const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelApp       = "shipit.dev/app"
	labelEntry     = "shipit.dev/entry" // record, or another kind

	entriesAtOnce = 50 // of one answer; each entry may have up to 1 MiB
)

// Place is the namespace's name.
func (s *Store) Place() string { return "namespace " + s.namespace }

// Create keeps a new entry; the version is "" if its name is taken.
func (s *Store) Create(ctx context.Context, e ledger.StoredEntry) (version string, err error) {
	cm := s.configMap(e)
	err = s.cluster.typed.create(ctx, configMapsKind, s.namespace, cm, metav1.CreateOptions{FieldManager: Manager})
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
	err := s.cluster.patiently(ctx, func() error {
		return s.cluster.typed.get(ctx, configMapsKind, s.namespace, s.prefix()+name, cm)
	})
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
	err = s.cluster.typed.update(ctx, configMapsKind, s.namespace, cm.Name, cm)
	switch {
	case err == nil:
		return cm.ResourceVersion, nil
	case isGone(err):
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
	var list *metav1.PartialObjectMetadataList
	err := s.cluster.patiently(ctx, func() error {
		var err error
		list, err = s.cluster.meta.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(s.namespace).
			List(ctx, metav1.ListOptions{LabelSelector: s.selector(kind)})
		return err
	})
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

// Scan reads every entry of a kind, some at a time.
func (s *Store) Scan(ctx context.Context, kind string, each func(ledger.StoredEntry) error) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		page := &corev1.ConfigMapList{}
		err := s.cluster.patiently(ctx, func() error { return s.cluster.typed.list(ctx, configMapsKind, s.namespace, o, page) })
		return page, err
	})
	pages.PageSize = entriesAtOnce
	pages.PageBufferSize = 0 // one page in memory
	err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: s.selector(kind)}, func(o runtime.Object) error {
		cm, ok := o.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("listed %T among ConfigMaps", o)
		}
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
	return labelManagedBy + "=" + Manager + "," + labelApp + "=" + s.app + "," + labelEntry + "=" + entryKind(kind)
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
			Labels: map[string]string{labelManagedBy: Manager, labelApp: s.app, labelEntry: entryKind(ledger.Kind(e.Name))},
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
	return s.cluster.explain(err)
}
