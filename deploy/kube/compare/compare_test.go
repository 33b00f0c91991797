package compare

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func parse(t *testing.T, doc string) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(doc), &v), doc)
	return v
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		name, want, live string
		covers           bool
	}{
		{"what the server adds is no difference", "{a: 1}", "{a: 1, b: 2}", true},
		{"another value is", "{a: 1}", "{a: 2}", false},
		{"a missing value is", "{a: false}", "{}", false},
		{"an empty value that is missing is none", "{a: {}, b: [], c: null}", "{}", true},
		{"false is not kept by the server in some fields", "{hostNetwork: false}", "{}", true},
		{"quantities are compared by what they say", "{requests: {cpu: 1000m, memory: 0.5Gi}}", `{requests: {cpu: "1", memory: 512Mi}}`, true},
		{"quantities that say something else differ", "{requests: {cpu: 1000m}}", `{requests: {cpu: "2"}}`, false},
		{"list items are found by their key", "{c: [{name: b, x: 1}]}", "{c: [{name: a}, {name: b, x: 1}]}", true},
		{"a port's protocol is TCP where none is given", "{ports: [{port: 80, x: 1}]}", "{ports: [{port: 80, protocol: TCP, x: 1}]}", true},
		{"one port of two protocols is two items", "{ports: [{port: 53, protocol: UDP, x: 1}]}", "{ports: [{port: 53, protocol: TCP, x: 1}]}", false},
		{"items without a key are compared in order", "{args: [a, b]}", "{args: [b, a]}", false},
		{"a list that is to be empty is", "{args: []}", "{args: [a]}", false},
		{"another's finalizer is no difference", "{finalizers: [a]}", "{finalizers: [b, a]}", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.covers, Covers(parse(t, tc.want), parse(t, tc.live)))
		})
	}
}

func TestFieldsThatAreCeded(t *testing.T) {
	live := &unstructured.Unstructured{Object: parse(t, `
metadata:
  managedFields:
  - {manager: kube-controller-manager, operation: Update, subresource: scale, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:replicas": {}}}}
  - {manager: tuner, operation: Update, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:containers": {'k:{"name":"main"}': {"f:cpu": {}}}}}}
spec: {replicas: 3, containers: [{name: main, cpu: 2, image: a}]}`)}
	const wanted = "{spec: {replicas: 1, containers: [{name: main, cpu: 1, image: a}]}}"
	for name, tc := range map[string]struct {
		policy    Policy
		want      string
		unchanged bool
	}{
		"replicas that an autoscaler holds, always":    {Policy{}, "{spec: {containers: [{name: main, cpu: 1, image: a}]}}", false},
		"fields of a manager that the policy cedes to": {Policy{Managers: map[string]string{"tuner": Cede}}, "{spec: {containers: [{name: main, image: a}]}}", true},
	} {
		t.Run(name, func(t *testing.T) {
			want := parse(t, wanted)
			require.True(t, CedeFields(want, live, tc.policy))
			require.Equal(t, parse(t, tc.want), want)
			o := &object.Object{Body: &unstructured.Unstructured{Object: parse(t, wanted)}}
			require.Equal(t, tc.unchanged, Unchanged(o, live, tc.policy))
		})
	}
}

func TestFields(t *testing.T) {
	lines := func(live, next string) []string {
		return strings.Split(release.Diff(Fields(&unstructured.Unstructured{Object: parse(t, live)}, &unstructured.Unstructured{Object: parse(t, next)})), "\n")
	}
	require.Equal(t, []string{"- spec.c[main].image: a", "+ spec.c[main].image: b", "+ spec.text: \"two words\""},
		lines("{metadata: {name: web, uid: x}, spec: {c: [{name: main, image: a}]}, status: {a: 1}}", "{metadata: {name: web}, spec: {c: [{name: main, image: b}], text: two words}}"))
	require.Equal(t, []string{"- data.a: (hidden)", "+ data.a: (hidden, changed)"},
		lines("{kind: Secret, data: {a: b2xk}}", "{kind: Secret, data: {a: bmV3}}"))
}
