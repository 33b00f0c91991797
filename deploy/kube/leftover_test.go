package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

const claim = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: $NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}, storageClassName: "", volumeName: none}`

func TestWhatOnlyAnEarlierReleaseHadGoes(t *testing.T) {
	t.Parallel()
	c := connect(t)
	web := func(ns string) part { return part{"web", ns, []string{deployment("web", 1)}} }
	worker := func(ns string, more ...string) part {
		return part{"worker", ns, append([]string{deployment("worker", 1)}, more...)}
	}

	t.Run("a role that only a failed release brought is taken away by the restore", func(t *testing.T) {
		ns := namespace(t, c)
		a := newApp(t, "left-1", web(ns))
		a.settled("v1", web(ns))
		crashing := part{"worker", ns, []string{deployment("worker", 1, fate("crash"))}}
		record := a.ship("v2", web(ns), crashing)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.False(t, a.exists(ns, "worker"))
		require.Equal(t, []string{"shipit-left-1.web"}, a.configMaps(ns), "the parent of its ApplySet is gone too")
		a.inParity()
		a.settled("v3", web(ns))
	})
	t.Run("a rollback takes away the role that the later release brought", func(t *testing.T) {
		ns := namespace(t, c)
		a := newApp(t, "left-2", web(ns))
		a.settled("v1", web(ns))
		a.settled("v2", web(ns), worker(ns))
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome, record.Reason)
		require.True(t, record.Parity, record.Reason)
		require.False(t, a.exists(ns, "worker"))
		a.inParity()
	})
	t.Run("what holds data stays, and is named", func(t *testing.T) {
		c := named(t)
		ns := namespace(t, c)
		a := newApp(t, "left-3", web(ns))
		a.kubeconfig = c.kubeconfig
		a.configure("left-3", web(ns))
		claimed := part{"worker", ns, []string{claim, `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: $NS}`, `apiVersion: batch/v1
kind: CronJob
metadata: {name: worker, namespace: $NS}
spec: {schedule: "0 3 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: $IMAGE}]}}}}}`}}
		// The claim is never bound here, so that no release with it is ever ready: it is made by hand.
		rel := a.release("v1", claimed)
		target := a.Targets[release.TargetKubernetes].(*Target)
		_, err := c.Apply(t.Context(), rel.Roles[0], applyOptions{app: "left-3"})
		require.NoError(t, err)
		seen, err := target.Compare(t.Context(), deploy.Step{Release: rel, Role: rel.Roles[0]})
		require.NoError(t, err)
		require.True(t, seen.Present)

		log := newRequests(t, c)
		require.NoError(t, target.Remove(t.Context(), rel.Roles[0], rel))
		require.Empty(t, log.since(), "nothing is asked when nothing is to go")

		require.NoError(t, target.Remove(t.Context(), rel.Roles[0], a.release("v2", web(ns))))
		_, err = c.kube.CoreV1().PersistentVolumeClaims(ns).Get(t.Context(), "data", metav1.GetOptions{})
		require.NoError(t, err)
		require.Contains(t, a.noted(), "PersistentVolumeClaim "+ns+"/data")
		require.Empty(t, a.configMaps(ns))
		seen, err = target.Compare(t.Context(), deploy.Step{Release: rel, Role: rel.Roles[0]})
		require.NoError(t, err)
		require.False(t, seen.Present, "what is kept does not run")
	})
	t.Run("a role that moved to another namespace runs there only", func(t *testing.T) {
		ns, other := namespace(t, c), namespace(t, c)
		a := newApp(t, "left-4", web(ns))
		a.settled("v1", web(ns), worker(ns))
		a.settled("v1", web(ns), worker(other))
		require.False(t, a.exists(ns, "worker"))
		require.True(t, a.exists(other, "worker"))
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.True(t, a.exists(ns, "worker"))
		require.False(t, a.exists(other, "worker"))
		require.Empty(t, a.configMaps(other))
		a.inParity()
	})
	t.Run("a role with another name takes over the objects of the old one", func(t *testing.T) {
		ns := namespace(t, c)
		a := newApp(t, "left-5", web(ns))
		a.settled("v1", web(ns))
		renamed := web(ns)
		renamed.name = "site"
		a.settled("v2", renamed)
		require.True(t, a.exists(ns, "web"))
		require.Equal(t, []string{"shipit-left-5.site"}, a.configMaps(ns))

		// And back, over a role that the configuration no longer names.
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome, record.Reason)
		require.True(t, record.Parity, record.Reason)
		require.Equal(t, []string{"shipit-left-5.web"}, a.configMaps(ns))
		a.inParity()
	})
	t.Run("a rollback brings back a role that the configuration no longer names", func(t *testing.T) {
		ns, other := namespace(t, c), namespace(t, c)
		a := newApp(t, "left-6", web(ns))
		a.settled("v1", web(ns), worker(other))
		a.settled("v2", web(ns))
		require.False(t, a.exists(other, "worker"))
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome, record.Reason)
		require.True(t, record.Parity, record.Reason)
		require.True(t, a.exists(other, "worker"))
		a.inParity()
		a.settled("v3", web(ns))
		require.False(t, a.exists(other, "worker"))
	})
}
