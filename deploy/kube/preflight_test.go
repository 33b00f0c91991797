package kube

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/release"
)

func check(t *testing.T, c *user, role release.Role, o preflight.Options) []release.Finding {
	t.Helper()
	began := time.Now()
	found, err := c.Preflight(t.Context(), role, o)
	require.NoError(t, err)
	t.Logf("preflight took %s", time.Since(began))
	for _, f := range found.Findings {
		t.Log(f.Severity, f)
	}
	return found.Findings
}

func TestPreflight(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1 := digestOf("v1")
	pulls := func(err error) func(context.Context, string, []byte) error {
		return func(context.Context, string, []byte) error { return err }
	}
	platforms := func(list ...string) func(context.Context, string) ([]string, error) {
		return func(context.Context, string) ([]string, error) { return list, nil }
	}
	pod := func(spec string) string { return deployment("web", 2) + "\n      " + spec }
	for _, tc := range []struct {
		name    string
		objects []string
		options preflight.Options
		code    string
		message string
		warns   bool
	}{
		{name: "nothing is wrong", objects: []string{deployment("web", 2), service},
			options: preflight.Options{CanPull: pulls(nil), Platforms: platforms("linux/amd64", "linux/arm64/v8")}},
		{name: "a Secret is missing", objects: []string{deployment("web", 2, "        envFrom: [{secretRef: {name: nope}}]")},
			code: "SecretMissing", message: "Secret $NS/nope does not exist"},
		{name: "a Secret is optional", objects: []string{deployment("web", 2, "        envFrom: [{secretRef: {name: nope, optional: true}}]")}},
		{name: "a Secret comes with the release, without the key",
			objects: []string{deployment("web", 2, "        env: [{name: A, valueFrom: {secretKeyRef: {name: own, key: b}}}]"),
				"{apiVersion: v1, kind: Secret, metadata: {name: own, namespace: $NS}, stringData: {a: x}}"},
			code: "SecretKeyMissing", message: `Secret $NS/own has no key "b"`},
		{name: "a ConfigMap is missing", objects: []string{pod("volumes: [{name: v, configMap: {name: nope}}]")},
			code: "ConfigMapMissing", message: "ConfigMap $NS/nope does not exist"},
		{name: "a ConfigMap's key is missing", objects: []string{deployment("web", 2, "        env: [{name: A, valueFrom: {configMapKeyRef: {name: kube-root-ca.crt, key: b}}}]")},
			code: "ConfigMapKeyMissing", message: `ConfigMap $NS/kube-root-ca.crt has no key "b"`},
		{name: "a ServiceAccount is missing", objects: []string{pod("serviceAccountName: nope")},
			code: "ServiceAccountMissing", message: "ServiceAccount $NS/nope does not exist"},
		{name: "a PriorityClass is missing", objects: []string{pod("priorityClassName: nope")},
			code: "PriorityClassMissing", message: "PriorityClass nope does not exist"},
		{name: "a RuntimeClass is missing", objects: []string{pod("runtimeClassName: nope")},
			code: "RuntimeClassMissing", message: "RuntimeClass nope does not exist"},
		{name: "a claim is missing", objects: []string{pod("volumes: [{name: v, persistentVolumeClaim: {claimName: nope}}]")},
			code: "ClaimMissing", message: "PersistentVolumeClaim $NS/nope does not exist"},
		{name: "a StorageClass is missing", objects: []string{deployment("web", 2), `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: $NS}
spec: {storageClassName: nope, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}`},
			code: "StorageClassMissing", message: "StorageClass nope does not exist"},
		{name: "no node has the label", objects: []string{pod("nodeSelector: {disk: ssd}")},
			code: "Unschedulable", message: "does not have the label disk=ssd"},
		{name: "no node is large enough", objects: []string{pod("overhead: {}\n      nodeSelector: {kubernetes.io/os: linux}\n      affinity: {}\n      initContainers: [{name: big, image: $IMAGE, resources: {requests: {cpu: 9999k}}}]")},
			code: "Unschedulable", message: "cpu in all, and the pod requests 9999k"},
		{name: "the registry denies the pull", objects: []string{deployment("web", 2)}, options: preflight.Options{CanPull: pulls(errors.New("GET https://registry.test/v2/: 401 Unauthorized"))},
			code: "PullDenied", message: "cannot be pulled without a pull secret"},
		{name: "the registry does not have the image", objects: []string{deployment("web", 2)}, options: preflight.Options{CanPull: pulls(errors.New("MANIFEST_UNKNOWN: manifest unknown"))},
			code: "ImageNotFound", message: "MANIFEST_UNKNOWN"},
		{name: "the registry is away", objects: []string{deployment("web", 2)}, options: preflight.Options{CanPull: pulls(errors.New("dial tcp: lookup registry.test: no such host"))},
			code: "RegistryUnreachable", message: "no such host", warns: true},
		{name: "a pull secret is missing", objects: []string{pod("imagePullSecrets: [{name: nope}]")}, options: preflight.Options{CanPull: pulls(nil)},
			code: "PullSecretMissing", message: "pull secret nope does not exist", warns: true},
		{name: "the image is for another architecture", objects: []string{deployment("web", 2)}, options: preflight.Options{Platforms: platforms("linux/s390x")},
			code: "NoMatchingPlatform", message: "the image is for linux/s390x and the nodes are linux/amd64"},
		{name: "a budget lets no pod go", objects: []string{deployment("web", 2), `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: $NS}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}`},
			code: "BudgetBlocks", message: "never lets one of the 2 pods", warns: true},
		{name: "a field that there is not", objects: []string{strings.Replace(deployment("web", 2), "replicas:", "replica:", 1)},
			code: "InvalidObject", message: "replica"},
		{name: "a value that the server does not take", objects: []string{deployment("web", 2), strings.Replace(service, "port: 80,", "port: 0,", 1)},
			code: "InvalidObject", message: "spec.ports[0].port: Invalid value: 0"},
		{name: "the namespace does not take the pod", objects: []string{pod("hostNetwork: true"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: $NS}}"},
			code: "PodSecurity", message: "violates PodSecurity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.code == "PodSecurity" {
				enforce(t, c, ns, "baseline")
			}
			found := check(t, c, roleOf(t, ns, v1, tc.objects...), tc.options)
			if tc.code == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.EqualValues(t, tc.code, found[0].Code)
			require.Contains(t, found[0].Message, replaceNS(tc.message, ns))
			require.Equal(t, tc.warns, found[0].Severity == release.Warns)
		})
	}
}

// What a registry says to the pull secret is told, not what it says to a client without one.
func TestWhatTheRegistrySaysToThePullSecretIsTold(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	objects := []string{deployment("web", 2) + "\n      imagePullSecrets: [{name: wrong}, {name: right}]"}
	for _, name := range []string{"wrong", "right"} {
		objects = append(objects, "{apiVersion: v1, kind: Secret, metadata: {name: "+name+", namespace: $NS}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: '{\"auths\":{\""+name+"\":{}}}'}}")
	}
	for name, tc := range map[string]struct{ wrong, right, code, message string }{
		"both are denied":           {"wrong: 401 Unauthorized", "right: 401 Unauthorized", "PullDenied", "with pull secret wrong, right: right: 401 Unauthorized"},
		"one may, and it is absent": {"wrong: 401 Unauthorized", "MANIFEST_UNKNOWN", "ImageNotFound", "with pull secret wrong, right: MANIFEST_UNKNOWN"},
		"the other may":             {"MANIFEST_UNKNOWN", "right: 401 Unauthorized", "ImageNotFound", "with pull secret wrong, right: MANIFEST_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			found := check(t, c, roleOf(t, ns, digestOf("v1"), objects...), preflight.Options{CanPull: func(_ context.Context, _ string, config []byte) error {
				switch {
				case strings.Contains(string(config), "wrong"):
					return errors.New(tc.wrong)
				case strings.Contains(string(config), "right"):
					return errors.New(tc.right)
				default:
					return errors.New("anonymous: 401 Unauthorized")
				}
			}})
			require.Len(t, found, 1)
			require.EqualValues(t, tc.code, found[0].Code)
			require.Contains(t, found[0].Message, tc.message)
		})
	}
}

func TestPreflightTriesWhatWouldChange(t *testing.T) {
	c := named(t)
	ns := namespace(t, c)
	log := newRequests(t, c)
	role := fleet(t, ns, digestOf("v1"), 40, 15, 0)
	log.since()
	require.Empty(t, check(t, c, role, preflight.Options{}))
	counts := log.since()
	require.Equal(t, 10, counts["patch"], "workloads, and one ConfigMap of many")
	require.Equal(t, 11, counts["create"], "pods, and what the caller may do")
	require.Empty(t, check(t, c, role, preflight.Options{DryRun: true}))
	require.Zero(t, log.since()["patch"])

	_, _, err := roll(t, c, role)
	require.NoError(t, err)
	log.since()
	require.Empty(t, check(t, c, role, preflight.Options{}))
	counts = log.since()
	require.Zero(t, counts["patch"], "nothing would change")
	require.Equal(t, 1, counts["create"])
	require.LessOrEqual(t, counts["all"], 5, "%v: nodes and quotas are no matter without new pods", counts)

	last := len(role.Objects) - 1
	role.Objects = slices.Clone(role.Objects)
	role.Objects[last] = json.RawMessage(strings.Replace(string(role.Objects[last]), `"n":"39"`, `"n":{"m":1}`, 1))
	found := check(t, c, role, preflight.Options{})
	require.Len(t, found, 1)
	require.Equal(t, release.CodeInvalidObject, found[0].Code)
	require.Equal(t, "ConfigMap "+ns+"/c39", found[0].Object)
}

func TestPreflightOfQuotas(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	_, err := c.kube.CoreV1().ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("2")}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		q, err := c.kube.CoreV1().ResourceQuotas(ns).Get(t.Context(), "small", metav1.GetOptions{})
		return err == nil && len(q.Status.Hard) > 0
	}, time.Minute, 20*time.Millisecond)

	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 2)), roleOf(t, ns, digestOf("v2"), deployment("web", 2))
	require.Empty(t, check(t, c, v1, preflight.Options{}), "there is capacity for two pods")
	_, _, err = roll(t, c, v1)
	require.NoError(t, err)
	require.Empty(t, check(t, c, v1, preflight.Options{}), "nothing would change")

	found := check(t, c, v2, preflight.Options{})
	require.Len(t, found, 1)
	require.Equal(t, release.CodeQuotaExceeded, found[0].Code)
	require.Contains(t, found[0].Message, "needs 1 more pods at once, and quota "+ns+"/small has 0 of 2 pods left")
}
