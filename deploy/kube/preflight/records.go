package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Records are those of an app in a namespace.
type Records struct {
	Namespace string
	Newest    int64 // its number
	Same      bool  // they are of the environment that is released
}

// records checks, before a first release, that its namespace can keep records, and
// that no other one has records of the app: a first role that has moved would begin the
// history again, and what ran before would go on beside it. Only another environment,
// named by --env, may run beside it.
func (r *run) records(ctx context.Context) error {
	ns := cmp.Or(r.o.Namespace, r.roles[0].set.Parent.Namespace)
	if isNew, err := r.anyNew(); err != nil || !isNew || r.o.Elsewhere == nil {
		return err
	}
	if err := r.namespaceOfRecords(ctx, ns); err != nil {
		return err
	}
	elsewhere, err := r.o.Elsewhere(ctx)
	if err != nil {
		return r.unchecked("whether another namespace has records of this app is", err)
	}
	for _, e := range elsewhere {
		f := release.Finding{Code: release.CodeRecordsElsewhere, Severity: release.Refuses,
			Message: fmt.Sprintf("namespace %s has records of this app, up to #%d, and %s has none", e.Namespace, e.Newest, ns),
			Hint: fmt.Sprintf("`ledger: %s` in shipit.yaml goes on with that history, and takes away what runs there; for another app, or to leave "+
				"that alone, allow RecordsElsewhere once", e.Namespace)}
		if !e.Same {
			f.Severity, f.Message, f.Hint = release.Warns, f.Message+": they are of another environment, which goes on running", ""
		}
		r.found(f)
	}
	return nil
}

// anyNew reports whether a role has nothing in the cluster yet.
func (r *run) anyNew() (bool, error) {
	for _, role := range r.roles {
		if state, err := role.state(); err != nil || state.New() {
			return err == nil, err
		}
	}
	return false, nil
}

// namespaceOfRecords checks that the namespace of the records exists, or will. If the
// release has objects in it, the dry runs tell.
func (r *run) namespaceOfRecords(ctx context.Context, ns string) error {
	if r.brought[object.ID{Kind: "Namespace", Name: ns}] != nil || slices.Contains(r.namespaces(), ns) {
		return nil
	}
	try := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "shipit-preflight-", Namespace: ns}}
	err := r.c.Create(ctx, client.ConfigMaps, ns, try, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: object.Manager})
	if apierrors.IsNotFound(err) {
		r.found(release.Finding{Code: release.CodeNamespaceMissing, Severity: release.Refuses, Fixed: true,
			Message: "there is no namespace " + ns + ", which is to keep the records",
			Hint:    "`kubectl create namespace " + ns + "` creates it, or put it among the first role's manifests"})
	}
	return nil // what else the server says is the business of other checks
}
