package kube

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

// fail rolls a role that cannot come up, and returns why.
func fail(t *testing.T, c *user, role release.Role, limit time.Duration) (*release.Failure, time.Duration) {
	t.Helper()
	return failAfter(t, c, role, limit, func() bool { return true })
}

// failAfter is fail whose limit begins when the cause can be seen: it is long enough on
// a busy machine, too.
func failAfter(t *testing.T, c *user, role release.Role, limit time.Duration, seen func() bool) (*release.Failure, time.Duration) {
	t.Helper()
	a, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	require.Eventually(t, seen, time.Minute, 20*time.Millisecond, "there is no cause")
	began := time.Now()
	_, err = c.Wait(t.Context(), role, a, Options{Timeout: limit, Progress: progress(t)})
	var f *release.Failure
	require.ErrorAs(t, err, &f)
	t.Logf("%s after %s: %+v", f, time.Since(began), *f)
	return f, time.Since(began)
}

// warned reports whether a namespace has an event with those words.
func warned(t *testing.T, c *user, ns, words string) func() bool {
	return func() bool {
		events, err := c.kube.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return strings.Contains(e.Message, words) })
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	good := roleOf(t, ns, digestOf("good"), deployment("web", 2))
	_, _, err := roll(t, c, good)
	require.NoError(t, err)

	for _, tc := range []struct {
		name, code, object, message string
		doc                         string
		log                         bool
	}{
		{name: "an image that is not there", doc: deployment("web", 2, fate("missing")), code: "ImageNotFound", object: "Pod", message: "not found"},
		{name: "a registry that wants a login", doc: deployment("web", 2, fate("denied")), code: "PullDenied", object: "Pod"},
		{name: "a program that ends at once", doc: deployment("web", 2, fate("crash")), code: "CrashLoop", object: "Pod", message: "container main ended with exit code 1", log: true},
		{name: "an init container that ends badly", doc: deployment("web", 2, fate("init-crash")) + "\n      initContainers: [{name: first, image: $IMAGE}]",
			code: "InitFailed", object: "Pod", message: "container first", log: true},
		{name: "a missing secret that only the kubelet finds", doc: deployment("web", 2, fate("no-config")), code: "SecretMissing", object: "Pod", message: "not found"},
		{name: "no node takes it", doc: deployment("web", 2) + "\n      nodeSelector: {disk: ssd}", code: "Unschedulable", object: "Pod", message: "node"},
		{name: "a program that never gets ready", doc: deployment("web", 2, fate("hang")), code: "DeadlineExceeded", object: "Pod", message: "is not ready: Readiness probe failed", log: true},
	} {
		t.Run(tc.name+" ends the wait with its cause, and the old pods go on", func(t *testing.T) {
			role := roleOf(t, ns, digestOf(tc.name), tc.doc)
			limit, seen := 2*time.Minute, func() bool { return true }
			if tc.code == "DeadlineExceeded" {
				limit, seen = 3*time.Second, warned(t, c, ns, "Readiness probe failed")
			}
			f, took := failAfter(t, c, role, limit, seen)
			require.EqualValues(t, tc.code, f.Code)
			require.Contains(t, f.Object, tc.object+" "+ns+"/web")
			require.Contains(t, f.Message, tc.message)
			require.NotEmpty(t, f.Hint)
			require.Equal(t, "web", f.Role)
			require.Equal(t, tc.log, len(f.Log) > 0, "%q", f.Log)
			require.Less(t, took, time.Minute, "the cause ends it, not the limit")

			live, err := c.Observe(t.Context(), good)
			require.NoError(t, err)
			require.Equal(t, []string{digestOf("good")}, live.Digests, "what served before serves on")
		})
		t.Run("then what ran before is put back", func(t *testing.T) {
			live, _, err := roll(t, c, good)
			require.NoError(t, err)
			require.Equal(t, []string{digestOf("good")}, live.Digests)
			require.Equal(t, 2, live.Ready)
		})
	}
}

func TestRefusedPods(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for _, tc := range []struct{ name, kind, code, message string }{
		{"a Pod Security level ends a Deployment's wait", "Deployment", "PodSecurity", "violates PodSecurity"},
		{"a Pod Security level ends a StatefulSet's wait", "StatefulSet", "PodSecurity", "violates PodSecurity"},
		{"a Pod Security level ends a DaemonSet's wait", "DaemonSet", "PodSecurity", "violates PodSecurity"},
		{"a Pod Security level ends a Job's wait", "Job", "PodSecurity", "violates PodSecurity"},
		{"a quota ends a Deployment's wait", "Deployment", "QuotaExceeded", "exceeded quota"},
		{"a missing service account ends a Deployment's wait", "Deployment", "ServiceAccountMissing", "not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := namespace(t, c)
			doc := workload(tc.kind) + "\n      hostNetwork: true"
			switch tc.code {
			case "PodSecurity":
				enforce(t, c, ns, "baseline")
			case "QuotaExceeded":
				_, err := c.kube.CoreV1().ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{
					ObjectMeta: metav1.ObjectMeta{Name: "none"},
					Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("0")}},
				}, metav1.CreateOptions{})
				require.NoError(t, err)
				require.Eventually(t, func() bool {
					q, err := c.kube.CoreV1().ResourceQuotas(ns).Get(t.Context(), "none", metav1.GetOptions{})
					return err == nil && len(q.Status.Hard) > 0
				}, time.Minute, 20*time.Millisecond)
			case "ServiceAccountMissing":
				doc = workload(tc.kind) + "\n      serviceAccountName: nope"
			}
			f, took := fail(t, c, roleOf(t, ns, digestOf("v1"), doc), 2*time.Minute)
			require.EqualValues(t, tc.code, f.Code)
			require.Contains(t, f.Message, tc.message)
			require.Equal(t, tc.kind+" "+ns+"/web", f.Object)
			require.Less(t, took, time.Minute, "the cause ends it, not the limit")
		})
	}
}

func TestWhatAControllerSaidBefore(t *testing.T) {
	t.Parallel()
	c := connect(t)
	t.Run("of the revision before does not end the rollback", func(t *testing.T) {
		ns := namespace(t, c)
		good := roleOf(t, ns, digestOf("v1"), deployment("web", 2))
		_, _, err := roll(t, c, good)
		require.NoError(t, err)
		enforce(t, c, ns, "baseline")
		f, _ := fail(t, c, roleOf(t, ns, digestOf("v2"), deployment("web", 2)+"\n      hostNetwork: true"), 2*time.Minute)
		require.Equal(t, release.CodePodSecurity, f.Code)
		live, _, err := roll(t, c, good)
		require.NoError(t, err)
		require.Equal(t, 2, live.Ready)
	})
}

func TestALimitOfTheCallerHasItsCauseToo(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 1, fate("hang")))
	a, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	require.Eventually(t, warned(t, c, ns, "Readiness probe failed"), time.Minute, 20*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err = c.Wait(ctx, role, a, Options{Timeout: 4 * time.Second, Progress: progress(t)})
	var f *release.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, release.CodeDeadlineExceeded, f.Code)
	require.Contains(t, f.Message, "is not ready: Readiness probe failed")
	require.NotEmpty(t, f.Log)
}

func TestACauseThatIsThereAtOnceHasItsEvidence(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 1)+"\n  paused: true")
	for range 2 { // the second time nothing is written, and nothing has to be watched
		f, took := fail(t, c, role, 2*time.Minute)
		require.Equal(t, release.CodePaused, f.Code)
		require.Equal(t, "web", f.Role)
		require.NotEmpty(t, f.Hint)
		require.Less(t, took, time.Minute)
	}
}

func TestWaitEndsWithItsCaller(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 1, fate("hang")))
	a, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	began := time.Now()
	_, err = c.Wait(ctx, role, a, Options{})
	require.ErrorIs(t, err, context.Canceled)
	var f *release.Failure
	require.False(t, errors.As(err, &f), "an interrupted wait is no failure of the role")
	require.Less(t, time.Since(began), 30*time.Second)
}
