package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// applied are the options of what `kubectl apply` makes.
func applied() metav1.CreateOptions {
	return metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"}
}

// byKubectl makes a Deployment of two pods and its Service as `kubectl apply` does, and
// waits until they are ready.
func byKubectl(t *testing.T, c *user, ns string, extra ...string) {
	t.Helper()
	var d appsv1.Deployment
	doc := strings.NewReplacer("$NS", ns, "$IMAGE", repository+":20250901-1204").Replace(deployment("web", 2, extra...))
	require.NoError(t, yaml.Unmarshal([]byte(doc), &d))
	d.Labels["theirs"] = "yes"
	d.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "bus"}
	_, err := c.kube.AppsV1().Deployments(ns).Create(t.Context(), &d, applied())
	require.NoError(t, err)
	var s corev1.Service
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(service, "$NS", ns)), &s))
	_, err = c.kube.CoreV1().Services(ns).Create(t.Context(), &s, applied())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return deploymentOf(t, c, ns).Status.ReadyReplicas == 2 }, time.Minute, 20*time.Millisecond)
}

// stated is what people have stated of the Deployment web.
func stated(t *testing.T, c *user, ns string) (appsv1.DeploymentSpec, map[string]string) {
	t.Helper()
	d := deploymentOf(t, c, ns)
	return d.Spec, map[string]string{"theirs": d.Labels["theirs"], "team": d.Annotations["team"]}
}

func TestWhatKubectlAppliedIsPutBackIfTheFirstReleaseFails(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	byKubectl(t, c, ns, `        env: [{name: OLD, value: "1"}]`)
	spec, labels := stated(t, c, ns)
	pods := podUIDs(t, c, ns)
	const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: $NS}`
	docs := func(extra string) []string {
		return []string{deployment("web", 3, extra), strings.Replace(service, "port: 80,", "port: 81,", 1), settings}
	}
	broken := part{"web", ns, docs(fate("crash"))}
	a := newApp(t, "adopt-"+ns[len(ns)-5:], broken)

	record := a.ship("v1", broken)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Zero(t, record.Restored)
	require.NotEmpty(t, record.Failures)
	now, nowLabels := stated(t, c, ns)
	require.Equal(t, spec, now)
	require.Equal(t, labels, nowLabels)
	live, err := c.kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 80, live.Spec.Ports[0].Port)
	_, err = c.kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	require.Error(t, err, "what only the release brought goes away")
	require.Eventually(t, func() bool { return len(podUIDs(t, c, ns)) == 2 }, time.Minute, 20*time.Millisecond)
	kept := 0
	for name, uid := range podUIDs(t, c, ns) {
		if pods[name] == uid {
			kept++
		}
	}
	require.Positive(t, kept, "those that the broken release had not replaced yet go on")
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Record.Parity, "%v", status.Record.Drift)
	require.EqualValues(t, 0, status.Record.Seq)
	require.Equal(t, 2, status.Record.Roles[0].Ready)
	require.Empty(t, status.Record.Roles[0].LiveSHA)

	// Then a good one, and back to what was there before.
	good := part{"web", ns, docs("")}
	a.settled("v2", good)
	record, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	now, nowLabels = stated(t, c, ns)
	require.Equal(t, spec, now)
	require.Equal(t, labels, nowLabels)
	a.inParity()
	_, checks, err := a.Verify(t.Context(), -1, 0)
	require.NoError(t, err)
	for _, check := range checks {
		require.True(t, check.OK, check)
	}

	// It is drift where another hand changes it.
	_, err = c.kube.AppsV1().Deployments(ns).Patch(t.Context(), "web", "application/merge-patch+json", []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	require.NoError(t, err)
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.Record.Parity)
	a.settled("v3", good)
}

func TestAFirstReleaseOverNothingAdoptsNothing(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: $NS}", deployment("web", 1)}}
	a := newApp(t, "adopt-"+ns[len(ns)-5:], web)
	a.settled("v1", web)
	records, err := a.Ledger.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 1, "a namespace alone runs nothing")
}

func TestAdoptionTellsTheImageThatRuns(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	byKubectl(t, c, ns)
	web := part{"web", ns, []string{strings.Replace(deployment("web", 2), "name: main", "name: other", 1)}}
	a := newApp(t, "adopt-"+ns[len(ns)-5:], web)
	rel := a.release("v1", web)
	seen, err := a.Targets[release.TargetKubernetes].Adopt(context.WithoutCancel(t.Context()), deploy.Step{Release: rel, Role: rel.Roles[0]})
	require.NoError(t, err)
	require.True(t, seen.Found)
	require.Equal(t, repository, seen.Role.Repository)
	require.Equal(t, 2, seen.Live.Ready)
	require.Len(t, seen.Role.Objects, 1)
	require.NotContains(t, string(seen.Role.Objects[0]), "last-applied")
	require.NotContains(t, string(seen.Role.Objects[0]), "managedFields")
	require.NotContains(t, string(seen.Role.Objects[0]), "resourceVersion")
	require.NotContains(t, string(seen.Role.Objects[0]), `"status"`)
}

func TestALiteralSecretOfWhatRunsIsRefusedBeforeItIsRecorded(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	byKubectl(t, c, ns, `        env: [{name: API_TOKEN, value: hunter2hunter2}, {name: LEVEL, value: debug}]`)
	web := part{"web", ns, []string{deployment("web", 2)}}
	a := newApp(t, "adopt-"+ns[len(ns)-5:], web)
	plan, err := a.Plan(t.Context(), a.release("v1", web), deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(plan.Findings), "AdoptedSecret")
	_, err = a.tryShip(deploy.Terms{}, "v1", web)
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Len(t, refusal.Findings, 1)
	f := refusal.Findings[0]
	require.Equal(t, release.CodeAdoptedSecret, f.Code)
	require.Equal(t, "web", f.Role)
	require.Contains(t, f.Message, "the variable API_TOKEN of container main holds what looks like a secret")
	require.NotContains(t, f.String(), "hunter2")
	require.Empty(t, a.configMaps(ns), "nothing is recorded")

	record, err := a.tryShip(deploy.Terms{Allow: []release.Code{release.CodeAdoptedSecret}}, "v1", web)
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.Equal(t, []release.Code{release.CodeAdoptedSecret}, record.Allowed)
}

func TestASecretThatWasThereBeforeStaysWhereARollbackDoesNotHaveIt(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Namespace: ns}, StringData: map[string]string{"password": "hunter2"}}
	theirs, err := c.kube.CoreV1().Secrets(ns).Create(t.Context(), theirs, applied())
	require.NoError(t, err)
	byKubectl(t, c, ns)
	require.Eventually(t, func() bool { return time.Now().Unix() > theirs.CreationTimestamp.Unix() }, 10*time.Second, 20*time.Millisecond, "it is older, by the API server's clock of seconds")
	secret := func(name string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: $NS}\nstringData: {password: hunter2}"
	}
	web := part{"web", ns, []string{deployment("web", 1), secret("theirs"), secret("ours")}}
	a := newApp(t, "adopt-"+ns[len(ns)-5:], web)
	a.settled("v1", web)
	record, err := a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	kept, err := c.kube.CoreV1().Secrets(ns).Get(t.Context(), "theirs", metav1.GetOptions{})
	require.NoError(t, err, "what ran before needs it")
	require.Equal(t, "hunter2", string(kept.Data["password"]))
	require.Contains(t, a.noted(), "Secret "+ns+"/theirs is no longer part of the release and is kept")
	_, err = c.kube.CoreV1().Secrets(ns).Get(t.Context(), "ours", metav1.GetOptions{})
	require.Error(t, err, "what the release brought goes away")
	a.inParity()
}
