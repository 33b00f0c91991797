package kube

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
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
	c := connect(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), everything, service)
	_, a, err := roll(t, c, role)
	require.NoError(t, err)
	for _, r := range a.Results {
		require.Equal(t, apply.Created, r.Action, "%s", r.Object.ID)
	}
	before, log := versions(t, c, ns), newRequests(t, c)
	_, a, err = roll(t, c, role)
	require.NoError(t, err)
	require.Zero(t, log.since()["patch"], "what is unchanged is not even sent")
	for _, r := range a.Results {
		require.Equal(t, apply.Unchanged, r.Action, "%s", r.Object.ID)
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
	changed := func(t *testing.T) []string {
		t.Helper()
		plan, err := c.Diff(t.Context(), v1, options(t))
		require.NoError(t, err)
		require.Empty(t, plan.Findings)
		require.Len(t, plan.Changes, 1)
		return plan.Changes[0].Lines
	}
	t.Run("an image that was set by hand is a difference, and is taken back", func(t *testing.T) {
		const image = "spec.template.spec.containers[main].image: "
		require.Equal(t, []string{"- " + image + foreign, "+ " + image + v1.Reference()}, changed(t))
		a, err := c.Apply(t.Context(), v1, options(t))
		require.NoError(t, err)
		require.True(t, a.Changed())
		require.Equal(t, v1.Reference(), imageOf(t, c, ns))
	})
	set("kubectl-set", foreign, "20m")
	t.Run("so is what was set beside it, and that is said", func(t *testing.T) {
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
		require.Equal(t, []apply.Conflict{{Manager: "tuning-operator", Field: `.spec.template.spec.containers[name="main"].resources.requests.cpu`}}, conflict.Conflicts)
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
		require.False(t, a.Changed(), "%v", results(a))
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

func TestReplicas(t *testing.T) {
	c := connect(t)
	scale := func(t *testing.T, ns, manager string, to int32) {
		s, err := c.kube.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
		s.Spec.Replicas = to
		_, err = c.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: s.ObjectMeta, Spec: s.Spec}, metav1.UpdateOptions{FieldManager: manager})
		require.NoError(t, err)
	}
	for _, tc := range []struct {
		name, manager string
		ceded         bool
	}{
		{"an autoscaler's replicas are ceded", "kube-controller-manager", true},
		{"a person's replicas are not", "kubectl", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := namespace(t, c)
			v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1)), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
			_, _, err := roll(t, c, v1)
			require.NoError(t, err)
			scale(t, ns, tc.manager, 3)
			_, err = c.Apply(t.Context(), v2, options(t))
			require.NoError(t, err)
			if !tc.ceded {
				got, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
				require.NoError(t, err)
				require.EqualValues(t, 1, *got.Spec.Replicas)
				return
			}
			live, a, err := roll(t, c, v2)
			require.NoError(t, err)
			require.Equal(t, 3, live.Ready)
			require.False(t, a.Changed(), "what is ceded does not change the object again: %v", results(a))
			plan, err := c.Diff(t.Context(), v2, options(t))
			require.NoError(t, err)
			require.Empty(t, plan.Changes, "nor is it a difference")
		})
	}
}

func TestForceTakesNoReplicasFromAnAutoscaler(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1)), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
	_, _, err := roll(t, c, v1)
	require.NoError(t, err)
	s, err := c.kube.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	s.Spec.Replicas = 3
	_, err = c.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: s.ObjectMeta, Spec: s.Spec}, metav1.UpdateOptions{FieldManager: "kube-controller-manager"})
	require.NoError(t, err)
	o := options(t)
	o.policy.Force = true
	_, err = c.Apply(t.Context(), v2, o)
	require.NoError(t, err)
	got, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 3, *got.Spec.Replicas)
	require.Equal(t, v2.Reference(), imageOf(t, c, ns))
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
		case <-time.After(10 * time.Second):
		}
		_, err := maps.Patch(context.Background(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		freed <- err
	}()
	a, err := c.Apply(t.Context(), role, o)
	require.NoError(t, <-freed)
	require.NoError(t, err)
	require.Equal(t, apply.Created, a.Results[0].Action)
	after, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, before.UID, after.UID)
	_, err = maps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
}

func TestPrune(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: ns, Labels: map[string]string{"shipit.dev/app": "test"}}}
	_, err := c.kube.CoreV1().ConfigMaps(ns).Create(t.Context(), foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	const extra = `apiVersion: v1
kind: ConfigMap
metadata: {name: extra, namespace: $NS}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: $NS}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}`
	full, small := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service, extra), roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, err = c.Apply(t.Context(), full, options(t))
	require.NoError(t, err)
	other := small
	other.Name = "other"
	other.Objects = roleOf(t, ns, digestOf("v1"), deployment("second", 1)).Objects
	_, _, err = roll(t, c, other)
	require.NoError(t, err)

	t.Run("a plan shows what would go", func(t *testing.T) {
		plan, err := c.Diff(t.Context(), small, options(t))
		require.NoError(t, err)
		require.Equal(t, []apply.Change{{Object: object.ID{Kind: "ConfigMap", Namespace: ns, Name: "extra"}, Action: apply.Pruned}, {Object: object.ID{Kind: "Service", Namespace: ns, Name: "web"}, Action: apply.Pruned}}, plan.Changes)
	})
	broken := small
	broken.Objects = roleOf(t, ns, digestOf("v2"), deployment("web", 1, fate("missing"))).Objects
	t.Run("nothing goes while the new release does not serve", func(t *testing.T) {
		fail(t, c, broken, 30e9)
		_, err := c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("what the role no longer has goes when it serves; claims and what is not its own stay", func(t *testing.T) {
		_, _, err := roll(t, c, small)
		require.NoError(t, err)
		_, err = c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "extra", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
		_, err = c.kube.CoreV1().PersistentVolumeClaims(ns).Get(t.Context(), "data", metav1.GetOptions{})
		require.NoError(t, err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "foreign", metav1.GetOptions{})
		require.NoError(t, err)
		_, err = c.kube.AppsV1().Deployments(ns).Get(t.Context(), "second", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("the set's parent names the kinds that are left", func(t *testing.T) {
		parent, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "shipit-test.web", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, "Deployment.apps", parent.Annotations["applyset.kubernetes.io/contains-group-kinds"])
		require.Equal(t, apply.SetOf("test", "web", ns, nil).ID, parent.Labels["applyset.kubernetes.io/id"])
	})
	t.Run("what another role of the app has taken over stays", func(t *testing.T) {
		const shared = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared, namespace: $NS}}"
		_, _, err := roll(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 1), shared))
		require.NoError(t, err)
		a, err := c.Apply(t.Context(), small, options(t))
		require.NoError(t, err)
		other.Objects = append(other.Objects, roleOf(t, ns, digestOf("v1"), shared).Objects...)
		_, _, err = roll(t, c, other)
		require.NoError(t, err)
		_, err = c.Wait(t.Context(), small, a, Options{})
		require.NoError(t, err)
		_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "shared", metav1.GetOptions{})
		require.NoError(t, err)
	})
	t.Run("what moves to a role that is still to come stays too", func(t *testing.T) {
		const moved = "{apiVersion: v1, kind: ConfigMap, metadata: {name: moved, namespace: $NS}}"
		_, _, err := roll(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 1), moved))
		require.NoError(t, err)
		before, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "moved", metav1.GetOptions{})
		require.NoError(t, err)
		next := other
		next.Objects = append(slices.Clone(other.Objects), roleOf(t, ns, digestOf("v1"), moved).Objects...)
		o := options(t)
		o.roles = []release.Role{small, next}
		plan, err := c.Diff(t.Context(), small, o)
		require.NoError(t, err)
		require.Empty(t, plan.Changes)
		for _, role := range o.roles {
			a, err := c.Apply(t.Context(), role, o)
			require.NoError(t, err)
			_, err = c.Wait(t.Context(), role, a, Options{})
			require.NoError(t, err)
		}
		after, err := c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "moved", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, before.UID, after.UID)
		require.Equal(t, apply.SetOf("test", "other", ns, nil).ID, after.Labels[object.PartOfLabel])
	})
	t.Run("after that there is nothing to do", func(t *testing.T) {
		_, a, err := roll(t, c, small)
		require.NoError(t, err)
		require.False(t, a.Changed())
	})
}

func TestDiff(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	before := roleOf(t, ns, digestOf("v1"), deployment("web", 1), "{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: $NS}, data: {token: b2xkb2xk}}")
	_, _, err := roll(t, c, before)
	require.NoError(t, err)

	t.Run("changes are shown by field, and secrets are not", func(t *testing.T) {
		after := roleOf(t, ns, digestOf("v2"), deployment("web", 2), "{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: $NS}, data: {token: bmV3bmV3}}", service)
		plan, err := c.Diff(t.Context(), after, options(t))
		require.NoError(t, err)
		require.Equal(t, []apply.Change{
			{Object: object.ID{Group: "apps", Kind: "Deployment", Namespace: ns, Name: "web"}, Action: apply.Configured, Lines: []string{
				"- spec.replicas: 1",
				"+ spec.replicas: 2",
				"- spec.template.spec.containers[main].image: " + repository + "@" + digestOf("v1"),
				"+ spec.template.spec.containers[main].image: " + repository + "@" + digestOf("v2"),
			}},
			{Object: object.ID{Kind: "Secret", Namespace: ns, Name: "keys"}, Action: apply.Configured, Lines: []string{"- data.token: (hidden)", "+ data.token: (hidden, changed)"}},
			{Object: object.ID{Kind: "Service", Namespace: ns, Name: "web"}, Action: apply.Created},
		}, plan.Changes)
		require.Equal(t, repository+"@"+digestOf("v1"), imageOf(t, c, ns), "nothing was changed")
	})
	for _, tc := range []struct{ name, doc, code, message string }{
		{"an invalid value is named by its field", deployment("web", -1), "InvalidObject", "spec.replicas: Invalid value"},
		{"an unknown field is named", deployment("web", 1) + "\n      hostNetwrk: true", "InvalidObject", "hostNetwrk"},
		{"a missing namespace is named", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: nowhere-at-all}}", "NamespaceMissing", `"nowhere-at-all" not found`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan, err := c.Diff(t.Context(), roleOf(t, ns, digestOf("v2"), tc.doc), options(t))
			require.NoError(t, err)
			require.Len(t, plan.Findings, 1)
			require.EqualValues(t, tc.code, plan.Findings[0].Code)
			require.Contains(t, plan.Findings[0].Message, tc.message)
			require.True(t, plan.Findings[0].Fixed)
		})
	}
	t.Run("what stands in a namespace of the same release can be planned", func(t *testing.T) {
		doc := "{apiVersion: v1, kind: Namespace, metadata: {name: kube-test-new}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-test-new}}"
		plan, err := c.Diff(t.Context(), roleOf(t, ns, digestOf("v2"), doc), options(t))
		require.NoError(t, err)
		require.Empty(t, plan.Findings)
		require.Equal(t, []apply.Change{
			{Object: object.ID{Kind: "Namespace", Name: "kube-test-new"}, Action: apply.Created},
			{Object: object.ID{Kind: "ConfigMap", Namespace: "kube-test-new", Name: "x"}, Action: apply.Created},
		}, plan.Changes)
	})
}
