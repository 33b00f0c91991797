package kube

import (
	"context"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Lease has a place for most of what a lock says; the rest are annotations.
const (
	lockProcess = "shipit.dev/process"
	lockTTL     = "shipit.dev/ttl"
	lockHead    = "shipit.dev/head"
)

// ReadLock returns the lock's fields; version is "" if it was never taken.
func (s *Store) ReadLock(ctx context.Context) (fields map[string]string, version string, err error) {
	lease := &coordinationv1.Lease{}
	err = s.cluster.patiently(ctx, func() error {
		return s.cluster.typed.get(ctx, leasesKind, s.namespace, s.lockName(), lease)
	})
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", s.explain(err)
	}
	return lockFields(lease), lease.ResourceVersion, nil
}

// SwapLock replaces the lock's fields if it still has that version, "" meaning
// that there is none.
func (s *Store) SwapLock(ctx context.Context, version string, fields map[string]string) (newVersion string, ok bool, err error) {
	lease := s.lease(fields)
	if version == "" {
		err = s.cluster.typed.create(ctx, leasesKind, s.namespace, lease, metav1.CreateOptions{FieldManager: Manager})
	} else {
		lease.ResourceVersion = version
		err = s.cluster.typed.update(ctx, leasesKind, s.namespace, lease.Name, lease)
	}
	if err == nil {
		return lease.ResourceVersion, true, nil
	}
	if version == "" && apierrors.IsAlreadyExists(err) || version != "" && isGone(err) {
		return "", false, nil // another run came first
	}
	return "", false, s.explain(err)
}

func (s *Store) lockName() string { return "shipit-" + s.app }

func (s *Store) lease(fields map[string]string) *coordinationv1.Lease {
	holder := fields["holder"]
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.lockName(), Namespace: s.namespace,
			Labels:      map[string]string{labelManagedBy: Manager, labelApp: s.app},
			Annotations: map[string]string{lockProcess: fields["process"], lockTTL: fields["ttl"], lockHead: fields["head"]},
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
