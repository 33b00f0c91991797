package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/release"
)

// everything is a release with objects of which the server keeps another form
// than was written.
const everything = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: $NS, annotations: {}}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: $NS}
data: {a: c2VjcmV0}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: $NS}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: $NS}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: $NS}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: $IMAGE}]}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: $NS}
spec:
  replicas: 1
  paused: false
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {}}
    spec:
      hostNetwork: false
      serviceAccountName: web
      volumes: [{name: tmp, emptyDir: {sizeLimit: 1024Mi}}, {name: settings, configMap: {name: settings}}]
      containers:
      - name: main
        image: $IMAGE
        command: [run]
        args: []
        tty: false
        env: [{name: A, value: ""}, {name: B, value: "1000m"}]
        ports: [{containerPort: 80}, {containerPort: 443, name: tls}]
        resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {memory: 1024Mi}}
        volumeMounts: [{name: tmp, mountPath: /tmp, readOnly: false}, {name: settings, mountPath: /etc/app}]
        readinessProbe: {httpGet: {path: /, port: 80}, initialDelaySeconds: 0}`

func TestApplyUnchanged(t *testing.T) {
	c := named(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), everything, service)
	_, a, err := roll(t, c, role)
	require.NoError(t, err)
	for _, r := range a.Results {
		require.Equal(t, release.ActionCreated, r.Action, "%s", r.Object.ID)
	}
	before, log := versions(t, c, ns), newRequests(t, c)
	_, a, err = roll(t, c, role)
	require.NoError(t, err)
	require.Zero(t, log.since()["patch"], "what is unchanged is not even sent")
	for _, r := range a.Results {
		require.Equal(t, release.ActionUnchanged, r.Action, "%s", r.Object.ID)
	}
	require.Equal(t, before, versions(t, c, ns), "nothing was written")

	plan, err := c.Diff(t.Context(), role, options(t))
	require.NoError(t, err)
	require.Empty(t, plan.Changes)
	require.Empty(t, plan.Findings)
}

// versions are the resourceVersions of what a test has in its namespace.
func versions(t *testing.T, c *user, ns string) map[string]string {
	t.Helper()
	out := map[string]string{}
	maps, err := c.kube.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, m := range maps.Items {
		out["ConfigMap "+m.Name] = m.ResourceVersion
	}
	secrets, err := c.kube.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, s := range secrets.Items {
		out["Secret "+s.Name] = s.ResourceVersion
	}
	jobs, err := c.kube.BatchV1().CronJobs(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, j := range jobs.Items {
		out["CronJob "+j.Name] = j.ResourceVersion
	}
	return out
}

func TestApplyAgainstOtherHands(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1 := roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, _, err := roll(t, c, v1)
	require.NoError(t, err)

	set := func(manager, image, cpu string) {
		patch := `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"` + image + `","resources":{"requests":{"cpu":"` + cpu + `"}}}]}}}}`
		_, err := c.kube.AppsV1().Deployments(ns).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager})
		require.NoError(t, err)
	}
	foreign := repository + "@" + digestOf("foreign")
	set("kubectl-set", foreign, "10m")
	differs := func(t *testing.T) []string {
		t.Helper()
		plan, err := c.Diff(t.Context(), v1, options(t))
		require.NoError(t, err)
		require.Empty(t, plan.Findings)
		require.Len(t, plan.Changes, 1)
		return strings.Split(release.Diff(plan.Changes[0].Fields), "\n")
	}
	t.Run("an image that was set by hand is a difference, and is taken back", func(t *testing.T) {
		const image = "spec.template.spec.containers[main].image: "
		require.Equal(t, []string{"- " + image + foreign, "+ " + image + v1.Reference()}, differs(t))
		a, err := c.Apply(t.Context(), v1, options(t))
		require.NoError(t, err)
		require.True(t, changed(a))
		require.Equal(t, v1.Reference(), imageOf(t, c, ns))
	})
	set("kubectl-set", foreign, "20m")
	t.Run("so is what was set beside it, and that is said", func(t *testing.T) {
		const cpu = "spec.template.spec.containers[main].resources.requests.cpu: "
		require.Subset(t, differs(t), []string{"- " + cpu + "20m", "+ " + cpu + "10m"})
		o := options(t)
		var notes []string
		o.progress = func(e release.Event) {
			if e.Mark == release.MarkNote {
				notes = append(notes, e.Message)
			}
		}
		_, err := c.Apply(t.Context(), v1, o)
		require.NoError(t, err)
		const main = "spec.template.spec.containers[main]."
		require.Equal(t, []string{"Deployment " + ns + "/web: the release's fields win over kubectl-set (" + main + "image, " + main + "resources.requests.cpu)"}, notes)
		require.Equal(t, v1.Reference(), imageOf(t, c, ns))
	})
	set("tuning-operator", foreign, "20m")
	t.Run("applying over a controller is refused, and names the owner and the field", func(t *testing.T) {
		_, err := c.Apply(t.Context(), v1, options(t))
		var conflict *apply.ConflictError
		require.ErrorAs(t, err, &conflict)
		require.Len(t, conflict.Conflicts, 1)
		require.Equal(t, `apply Deployment `+ns+`/web: .spec.template.spec.containers[name="main"].resources.requests.cpu is owned by "tuning-operator"`, err.Error())

		plan, err := c.Diff(t.Context(), v1, options(t))
		require.NoError(t, err)
		require.Len(t, plan.Findings, 1)
		require.Equal(t, release.CodeFieldConflict, plan.Findings[0].Code)
	})
	t.Run("a policy that cedes the owner's fields leaves them", func(t *testing.T) {
		o := options(t)
		o.policy.Managers = map[string]string{"tuning-operator": compare.Cede}
		_, err := c.Apply(t.Context(), v1, o)
		require.NoError(t, err)
		require.Equal(t, foreign, imageOf(t, c, ns))
		a, err := c.Apply(t.Context(), v1, o)
		require.NoError(t, err)
		require.False(t, changed(a), "%v", results(a))
	})
	t.Run("a policy that forces the owner takes them", func(t *testing.T) {
		set("tuning-operator", foreign, "30m")
		o := options(t)
		o.policy.Managers = map[string]string{"tuning-operator": compare.Force}
		_, err := c.Apply(t.Context(), v1, o)
		require.NoError(t, err)
		require.Equal(t, v1.Reference(), imageOf(t, c, ns))
	})
	t.Run("force takes everybody's", func(t *testing.T) {
		set("some-controller", foreign, "40m")
		o := options(t)
		o.policy.Force = true
		_, err := c.Apply(t.Context(), v1, o)
		require.NoError(t, err)
		require.Equal(t, v1.Reference(), imageOf(t, c, ns))
	})
}

func imageOf(t *testing.T, c *user, ns string) string {
	t.Helper()
	d, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	return d.Spec.Template.Spec.Containers[0].Image
}

func TestAnObjectThatIsGoingIsMadeAgain(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	const held = "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: $NS, finalizers: [shipit.test/hold]}}"
	role := roleOf(t, ns, digestOf("v1"), held)
	_, _, err := roll(t, c, role)
	require.NoError(t, err)
	maps := c.kube.CoreV1().ConfigMaps(ns)
	before, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.Delete(t.Context(), "held", metav1.DeleteOptions{}))
	told := make(chan struct{})
	o := options(t)
	o.progress = func(e release.Event) {
		if strings.Contains(e.Message, "is being deleted") {
			close(told)
		}
	}
	freed := make(chan error, 1)
	go func() {
		select {
		case <-told:
		case <-time.After(time.Minute):
		}
		_, err := maps.Patch(context.Background(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		freed <- err
	}()
	a, err := c.Apply(t.Context(), role, o)
	require.NoError(t, <-freed)
	require.NoError(t, err)
	require.Equal(t, release.ActionCreated, a.Results[0].Action)
	after, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, before.UID, after.UID)
	_, err = maps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
}
