package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/ledger"
)

// A Lease has a place for most of what a lock says; the rest are annotations.
const (
	lockProcess = "shipit.dev/process"
	lockTTL     = "shipit.dev/ttl"
	lockHead    = "shipit.dev/head"
	lockWhat    = "shipit.dev/what"
	lockOrder   = "shipit.dev/order"
	lockWaiting = "shipit.dev/waiting"
)

// ReadLock returns the lock; its version is "" if it was never taken.
func (s *Store) ReadLock(ctx context.Context) (ledger.StoredLock, error) {
	lease := &coordinationv1.Lease{}
	err := s.client.GetInto(ctx, client.Leases, s.namespace, s.lockName(), lease)
	if apierrors.IsNotFound(err) {
		return ledger.StoredLock{}, nil
	}
	if err != nil {
		return ledger.StoredLock{}, s.explain(err)
	}
	return ledger.StoredLock{Fields: lockFields(lease), Version: lease.ResourceVersion}, nil
}

// SwapLock replaces the lock if it still has the version of next, "" meaning
// that there is none.
func (s *Store) SwapLock(ctx context.Context, next ledger.StoredLock) (version string, err error) {
	lease := s.lease(next.Fields)
	if next.Version == "" {
		err = s.createLease(ctx, lease)
	} else {
		lease.ResourceVersion = next.Version
		err = s.client.Update(ctx, client.Leases, s.namespace, lease.Name, lease)
	}
	if err == nil {
		return lease.ResourceVersion, nil
	}
	if next.Version == "" && apierrors.IsAlreadyExists(err) || next.Version != "" && client.IsGone(err) {
		return "", nil // another run came first
	}
	return "", s.explain(err)
}

// createLease creates the lock, and before it the namespace if that is missing and to
// be made.
func (s *Store) createLease(ctx context.Context, lease *coordinationv1.Lease) error {
	how := metav1.CreateOptions{FieldManager: object.Manager}
	err := s.client.Create(ctx, client.Leases, s.namespace, lease, how)
	var missing *NamespaceError
	if !s.makes || !errors.As(s.explain(err), &missing) {
		return err
	}
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	if err := s.client.Create(ctx, client.Namespaces, "", made, how); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return s.client.Create(ctx, client.Leases, s.namespace, lease, how)
}

func (s *Store) lockName() string { return "shipit-" + s.app }

func (s *Store) lease(fields map[string]string) *coordinationv1.Lease {
	holder := fields["holder"]
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.lockName(), Namespace: s.namespace,
			Labels: map[string]string{object.ManagedByLabel: object.Manager, object.AppLabel: s.app},
			Annotations: map[string]string{
				lockProcess: fields["process"], lockTTL: fields["ttl"], lockHead: fields["head"],
				lockWhat: fields["what"], lockOrder: fields["order"], lockWaiting: fields["waiting"],
			},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, AcquireTime: microTime(fields["acquired"]), RenewTime: microTime(fields["renewed"]),
		},
	}
	if ttl, err := time.ParseDuration(fields["ttl"]); err == nil {
		seconds := max(int32(ttl.Round(time.Second).Seconds()), 1)
		lease.Spec.LeaseDurationSeconds = &seconds
	}
	if fence, err := strconv.ParseInt(fields["fence"], 10, 32); err == nil {
		transitions := int32(fence)
		lease.Spec.LeaseTransitions = &transitions
	}
	return lease
}

func lockFields(lease *coordinationv1.Lease) map[string]string {
	fields := map[string]string{
		"process": lease.Annotations[lockProcess], "ttl": lease.Annotations[lockTTL], "head": lease.Annotations[lockHead],
		"what": lease.Annotations[lockWhat], "order": lease.Annotations[lockOrder], "waiting": lease.Annotations[lockWaiting],
	}
	if holder := lease.Spec.HolderIdentity; holder != nil {
		fields["holder"] = *holder
	}
	if at := lease.Spec.AcquireTime; at != nil {
		fields["acquired"] = at.UTC().Format(time.RFC3339Nano)
	}
	if at := lease.Spec.RenewTime; at != nil {
		fields["renewed"] = at.UTC().Format(time.RFC3339Nano)
	}
	if fence := lease.Spec.LeaseTransitions; fence != nil {
		fields["fence"] = strconv.Itoa(int(*fence))
	}
	return fields
}

func microTime(text string) *metav1.MicroTime {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil
	}
	return &metav1.MicroTime{Time: at}
}
