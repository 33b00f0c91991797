package object_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

const (
	worker = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"worker","namespace":"bus"},"spec":{"template":{
		"metadata":{"labels":{"app":"worker"}},
		"spec":{"containers":[
			{"name":"worker","ports":[{"name":"metrics","containerPort":9090},{"name":"http","containerPort":3111}],
				"env":[{"name":"PORT","value":"3111"},{"name":"HOST","value":""},{"name":"TOKEN","valueFrom":{"secretKeyRef":{"name":"t","key":"t"}}}]},
			{"name":"side","env":[{"name":"PORT","value":"1"},{"name":"HOST","value":"http://bus:3111"}]}]}}}}`
	custom = `{"apiVersion":"acme.dev/v1","kind":"Worker","metadata":{"name":"worker","namespace":"bus"},"spec":{"port":3111}}`
)

// serviceOf is a Service with these ports and this selector.
func serviceOf(name, namespace, selector, ports string) string {
	return `{"apiVersion":"v1","kind":"Service","metadata":{"name":"` + name + `","namespace":"` + namespace + `"},"spec":{"selector":` + selector + `,"ports":` + ports + `}}`
}

func objectsOf(t *testing.T, raw ...string) []*object.Object {
	t.Helper()
	var role release.Role
	for _, r := range raw {
		role.Objects = append(role.Objects, json.RawMessage(r))
	}
	objects, err := object.Parse(role)
	require.NoError(t, err)
	return objects
}

func TestAWorkerIsReachedByTheServiceThatLeadsToItsPort(t *testing.T) {
	const ours = `{"app":"worker"}`
	for name, tt := range map[string]struct {
		objects []string
		want    string // the first name; "" is none
	}{
		"by its number":                      {[]string{worker, serviceOf("worker", "bus", ours, `[{"port":9000,"targetPort":9000},{"port":80,"targetPort":3111}]`)}, "worker.bus.svc:80"},
		"by the name that a container gives": {[]string{worker, serviceOf("worker", "bus", ours, `[{"port":9090,"targetPort":"metrics"},{"port":80,"targetPort":"http"}]`)}, "worker.bus.svc:80"},
		"by its own port":                    {[]string{worker, serviceOf("worker", "bus", ours, `[{"port":3111}]`)}, "worker.bus.svc:3111"},
		"not by a name that none gives":      {[]string{worker, serviceOf("worker", "bus", ours, `[{"port":80,"targetPort":"web"}]`)}, ""},
		"not by a Service of other pods":     {[]string{worker, serviceOf("a", "bus", `{"app":"a"}`, `[{"port":80,"targetPort":3111}]`), serviceOf("b", "bus", ours, `[{"port":81,"targetPort":3111}]`)}, "b.bus.svc:81"},
		"not by one that selects none":       {[]string{worker, serviceOf("worker", "bus", `null`, `[{"port":80,"targetPort":3111}]`)}, ""},
		"not by one of another namespace":    {[]string{worker, serviceOf("worker", "other", ours, `[{"port":80,"targetPort":3111}]`)}, ""},
		"of a Pod": {[]string{`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"bus","labels":{"app":"worker"}},"spec":{"containers":[{"name":"p","ports":[{"name":"http","containerPort":3111}]}]}}`,
			serviceOf("worker", "bus", ours, `[{"port":80,"targetPort":"http"}]`)}, "worker.bus.svc:80"},
		"of pods that a controller of its own makes": {[]string{custom, serviceOf("worker", "bus", ours, `[{"port":80,"targetPort":"http"}]`)}, "worker.bus.svc:80"},
	} {
		t.Run(name, func(t *testing.T) {
			names := object.ServiceNames(objectsOf(t, tt.objects...), 3111)
			if tt.want == "" {
				require.Empty(t, names)
				return
			}
			require.Equal(t, tt.want, names[0])
			require.Len(t, names, 4)
		})
	}
}

func TestTheEnvironmentIsWhatTheContainersAreTold(t *testing.T) {
	require.Equal(t, map[string]string{"PORT": "3111", "HOST": "http://bus:3111"}, object.Env(objectsOf(t, worker)))
	require.Empty(t, object.Env(objectsOf(t, custom)))
}
