package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// realRole makes roles of YAML documents that run on the real node.
func realRole(t *testing.T, up *cluster.Cluster, ns, digest string) func(doc string) release.Role {
	return func(doc string) release.Role {
		return release.Role{Name: "web", Target: release.TargetKubernetes, Repository: up.Registry + "/app", Digest: digest,
			Objects: roleOf(t, ns, digest, strings.ReplaceAll(doc, "$IMAGE", up.Registry+"/app@"+digest)).Objects}
	}
}

// ofKind turns a Deployment of program into another kind.
func ofKind(kind, doc string) string {
	doc = strings.Replace(doc, "kind: Deployment", "kind: "+kind, 1)
	switch kind {
	case "StatefulSet":
		return strings.Replace(doc, "  selector:", "  serviceName: web\n  selector:", 1)
	case "DaemonSet":
		return strings.Replace(doc, "  replicas: 1\n", "", 1)
	case "Job":
		doc = strings.Replace(doc, "apps/v1", "batch/v1", 1)
		doc = strings.Replace(doc, "  replicas: 1\n  selector: {matchLabels: {app: web}}\n", "  backoffLimit: 1\n", 1)
		return doc + "\n      restartPolicy: Never"
	}
	return doc
}

const done = "\n      initContainers: [{name: first, image: $IMAGE, command: [bun, --version]}]"

func containersInTrouble(t *testing.T, c *user, up *cluster.Cluster, digest string) {
	for _, tc := range []struct {
		name, doc string
		code      release.Code
		message   string
		log       string
	}{
		{name: "an init container that ended well hides no crash of the main container", doc: program("console.error('broken'); process.exit(3)") + done,
			code: release.CodeCrashLoop, message: "container main ended with exit code 3", log: "broken"},
		{name: "an init container that ended well hides no failed pull", doc: strings.ReplaceAll(program(answering), "$IMAGE", up.Registry+"/app@"+digestOf("absent")) + done,
			code: release.CodeImageNotFound, message: "container main"},
		{name: "an init container that ended well hides no failing readiness", doc: program(idle, "        startupProbe: {periodSeconds: 1, exec: {command: [bun, --version]}}") + done,
			code: release.CodeProbeFailed, message: "container main runs and is not ready"},
		{name: "a sidecar that crashes is no init container", doc: program(answering) + "\n      initContainers: [{name: beside, image: $IMAGE, restartPolicy: Always, command: [bun, -e, \"console.error('no proxy'); process.exit(4)\"]}]",
			code: release.CodeCrashLoop, message: "container beside ended with exit code 4", log: "no proxy"},
		{name: "a program that is not executable", doc: strings.Replace(program(answering, "        volumeMounts: [{name: v, mountPath: /v}]")+"\n      volumes: [{name: v, configMap: {name: kube-root-ca.crt, defaultMode: 0644}}]", "[bun, ", "[/v/ca.crt, ", 1),
			code: release.CodeStartFailed, message: "container main"},
		{name: "a program whose last line is the one that matters", doc: program("for (let i = 0; i < 30; i++) console.error('x'.repeat(5000)); console.error('the cause'); process.exit(3)"),
			code: release.CodeCrashLoop, log: "the cause"},
		{name: "a StatefulSet whose program crashes", doc: ofKind("StatefulSet", program("process.exit(3)")), code: release.CodeCrashLoop},
		{name: "a DaemonSet whose program crashes", doc: ofKind("DaemonSet", program("process.exit(3)")), code: release.CodeCrashLoop},
		{name: "a Job that fails twice", doc: ofKind("Job", program("process.exit(3)")), code: release.CodeJobFailed},
		{name: "a liveness probe that kills", doc: program(idle, "        livenessProbe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /, port: 3111}}"),
			code: release.CodeProbeFailed, message: "Liveness probe failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, took := fail(t, c, realRole(t, up, namespace(t, c), digest)(tc.doc), 2*time.Minute)
			require.Equal(t, tc.code, f.Code)
			require.Contains(t, f.Message, tc.message)
			require.Contains(t, strings.Join(f.Log, "\n"), tc.log)
			require.Less(t, took, time.Minute, "the cause ends it, not the limit")
		})
	}
	t.Run("a StatefulSet whose first pod crashes goes back wholly", func(t *testing.T) {
		ns := namespace(t, c)
		role := realRole(t, up, ns, digest)
		two := func(line string) release.Role {
			return role(strings.Replace(ofKind("StatefulSet", program(line)), "replicas: 1", "replicas: 2", 1))
		}
		good := two(answering)
		_, _, err := roll(t, c, good)
		require.NoError(t, err)
		f, _ := fail(t, c, two("if (require('os').hostname() === 'web-0') process.exit(3); "+answering), time.Minute)
		require.Equal(t, release.CodeCrashLoop, f.Code)
		require.Contains(t, f.Object, "web-0")
		live, _, err := roll(t, c, good)
		require.NoError(t, err)
		require.Equal(t, 2, live.Ready)
		set, err := c.kube.AppsV1().StatefulSets(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
		pods, err := c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		require.Len(t, pods.Items, 2)
		for _, p := range pods.Items {
			require.Equal(t, set.Status.UpdateRevision, p.Labels["controller-revision-hash"], p.Name)
		}
	})
}

func deadlineAsLongAsTheTimeout(t *testing.T, c *user, up *cluster.Cluster, digest string) {
	ns := namespace(t, c)
	role := realRole(t, up, ns, digest)
	limited := func(line string) release.Role {
		return role(strings.Replace(program(line), "  replicas: 1", "  progressDeadlineSeconds: 15\n  replicas: 1", 1))
	}
	// The pod that is good has its time to come up: the deadline is that of the way back to it.
	_, _, err := roll(t, c, role(program(answering)))
	require.NoError(t, err)
	for range 3 {
		f, _ := fail(t, c, limited("Bun.serve({port: 3111, fetch: r => new Response('', {status: 503})})"), 15*time.Second)
		require.Equal(t, release.CodeDeadlineExceeded, f.Code)
		a, err := c.Apply(t.Context(), limited(answering), options(t))
		require.NoError(t, err)
		live, err := c.Wait(t.Context(), limited(answering), a, Options{Timeout: time.Minute, Progress: progress(t)})
		require.NoError(t, err)
		require.Equal(t, 1, live.Ready)
	}
}

func readyForAWhileOrNever(t *testing.T, c *user, up *cluster.Cluster, digest string) {
	t.Run("a registry without a name is told at the limit", func(t *testing.T) {
		ns := namespace(t, c)
		f, _ := failAfter(t, c, realRole(t, up, ns, digest)(strings.ReplaceAll(program(answering), "$IMAGE", "nowhere.invalid/"+strings.Repeat("a-long-name/", 8)+"app@"+digest)), 3*time.Second, warned(t, c, ns, "no such host"))
		require.Equal(t, release.CodeDeadlineExceeded, f.Code)
		require.Contains(t, f.Message, "no such host")
	})
	t.Run("what crashes after it was ready is not recorded as good", func(t *testing.T) {
		role := realRole(t, up, namespace(t, c), digest)
		late := role(program(answering + "; setTimeout(() => { console.error('too late'); process.exit(3) }, 4000)"))
		a, err := c.Apply(t.Context(), late, options(t))
		require.NoError(t, err)
		_, err = (&Target{client: c.Client, options: Options{Timeout: time.Minute, Progress: progress(t)}}).complete(t.Context(), stepOf(late), a, 12*time.Second)
		var f *release.Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, release.CodeCrashLoop, f.Code)
		require.Contains(t, f.Message, "after it was ready")
		require.Contains(t, f.Log, "too late")

		live, _ := c.steady(t, late, func(live release.Live) bool { return live.Unsteady != "" && live.Ready == 0 })
		require.Contains(t, live.Unsteady, "is down")
		t.Log(live.Unsteady)
		live, failure := c.steady(t, late, func(live release.Live) bool { return live.Unsteady != "" && live.Ready == 1 })
		require.Contains(t, live.Unsteady, "was restarted")
		require.NotNil(t, failure)
		require.Equal(t, release.CodeCrashLoop, failure.Code)
		require.Contains(t, failure.Log, "too late")
		require.NotEmpty(t, release.Compare(release.Release{Roles: []release.Role{late}}, map[string]release.Live{"web": live}))
	})
	t.Run("what its liveness probe kills after it was ready is not recorded as good", func(t *testing.T) {
		role := realRole(t, up, namespace(t, c), digest)
		late := role(program("let n = 0; Bun.serve({port: 3111, fetch: r => new Response('', {status: r.url.endsWith('/live') && n++ > 3 ? 500 : 200})})",
			"        livenessProbe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /live, port: 3111}}"))
		a, err := c.Apply(t.Context(), late, options(t))
		require.NoError(t, err)
		_, err = (&Target{client: c.Client, options: Options{Timeout: time.Minute, Progress: progress(t)}}).complete(t.Context(), stepOf(late), a, 12*time.Second)
		var f *release.Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, release.CodeProbeFailed, f.Code)
		require.Contains(t, f.Message, "Liveness probe failed")
	})
	t.Run("a bare Pod is ready once it runs its new image", func(t *testing.T) {
		ns := namespace(t, c)
		bare := func(digest string) release.Role {
			return realRole(t, up, ns, digest)(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: web, namespace: $NS, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - {name: main, image: $IMAGE, command: [bun, -e, %q], readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: 3111}}}`, answering))
		}
		_, _, err := roll(t, c, bare(digest))
		require.NoError(t, err)
		next := bare(variant(t, up.Registry))
		live, _, err := roll(t, c, next)
		require.NoError(t, err)
		require.Empty(t, release.Compare(release.Release{Roles: []release.Role{next}}, map[string]release.Live{"web": live}))
		live, err = c.Observe(t.Context(), next)
		require.NoError(t, err)
		require.Empty(t, release.Compare(release.Release{Roles: []release.Role{next}}, map[string]release.Live{"web": live}), "and status says so too")
	})
	t.Run("a pod that a finalizer keeps is named at the limit", func(t *testing.T) {
		ns := namespace(t, c)
		role := realRole(t, up, ns, digest)
		set := func(line string) release.Role {
			return role(strings.Replace(ofKind("StatefulSet", program(line)), "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, finalizers: [example.com/keep]}", 1))
		}
		_, _, err := roll(t, c, set(answering))
		require.NoError(t, err)
		t.Cleanup(func() {
			_, _ = c.kube.CoreV1().Pods(ns).Patch(context.Background(), "web-0", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		})
		f, _ := failAfter(t, c, set(answering+"; 1"), 3*time.Second, func() bool {
			pod, err := c.kube.CoreV1().Pods(ns).Get(t.Context(), "web-0", metav1.GetOptions{})
			return err == nil && pod.DeletionTimestamp != nil
		})
		require.Contains(t, f.Message, "kept by the finalizer example.com/keep")
		require.NotContains(t, f.Hint, "--timeout")
	})
}

// steady observes a role until what is seen holds.
func (u *user) steady(t *testing.T, role release.Role, holds func(release.Live) bool) (release.Live, *release.Failure) {
	t.Helper()
	var live release.Live
	var failure *release.Failure
	require.Eventually(t, func() bool {
		found, err := readRunning(t.Context(), u.Client, role)
		if err != nil {
			return false
		}
		live, failure = observe(t.Context(), u.Client, role, found)
		return holds(live)
	}, time.Minute, 200*time.Millisecond, "%+v", &live)
	return live, failure
}

// variant pushes the image with bun once more under another digest.
func variant(t *testing.T, registry string) string {
	t.Helper()
	image, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	image, err = mutate.CreatedAt(image, v1.Time{Time: time.Unix(1, 0)})
	require.NoError(t, err)
	digest, err := image.Digest()
	require.NoError(t, err)
	ref, err := name.NewDigest(registry + "/app@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
	return digest.String()
}
