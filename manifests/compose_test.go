package manifests

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// roles are the inputs of an app whose roles, by name, have one manifest each.
func roles(env map[string]string, named ...string) []roleInput {
	var ins []roleInput
	for i := 0; i < len(named); i += 2 {
		in := simple(ownImage, map[string]string{"k.yaml": named[i+1]}, "k.yaml")
		in.Role.Name = named[i]
		if env[named[i]] != "" {
			in.Role.Env = map[string]string{"ROLE": env[named[i]]}
		}
		ins = append(ins, in)
	}
	return ins
}

const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {level: info}\n---\n"

func podNamed(name string) string { return strings.Replace(ownPod, "name: p}", "name: "+name+"}", 1) }

func TestAnObjectOfTwoRolesHasOneOwner(t *testing.T) {
	t.Run("the first role, where both bring it equally", func(t *testing.T) {
		objects, err := compose(roles(nil, "api", podNamed("a")+settings, "worker", podNamed("b")+settings))
		require.NoError(t, err)
		require.Len(t, objects[0], 2)
		require.Len(t, objects[1], 1)
		require.Contains(t, string(objects[0][1]), `"shipit.dev/role":"api"`)
	})
	t.Run("unequally it is refused", func(t *testing.T) {
		_, err := compose(roles(nil, "api", podNamed("a")+settings, "worker", podNamed("b")+strings.Replace(settings, "info", "debug", 1)))
		require.EqualError(t, err, "k.yaml:6: ConfigMap joelclaw/settings: is declared by the roles api and worker, and not equally")
		var fault *Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, release.CodeDuplicate, fault.Code)
	})
	t.Run("a workload to which the roles give another environment is unequal", func(t *testing.T) {
		_, err := compose(roles(map[string]string{"api": "api", "worker": "worker"}, "api", podNamed("a"), "worker", podNamed("a")))
		require.ErrorContains(t, err, "Pod joelclaw/a: is declared by the roles api and worker, and not equally")
	})
	t.Run("a role that brings nothing of its own is refused", func(t *testing.T) {
		_, err := compose(roles(nil, "api", podNamed("a")+settings, "worker", podNamed("a")))
		require.EqualError(t, err, "role worker: brings nothing that the roles before it do not bring")
	})
	t.Run("one name in two namespaces is two objects", func(t *testing.T) {
		ins := roles(nil, "api", podNamed("a")+settings, "worker", podNamed("a")+settings)
		ins[1].Role.Kubernetes = &config.Kubernetes{Namespace: "other", Manifests: []string{"k.yaml"}}
		objects, err := compose(ins)
		require.NoError(t, err)
		require.Len(t, objects[1], 2)
	})
}

// hashOf is the annotation that restarts the pods of the first Deployment.
func hashOf(t *testing.T, ins []roleInput) string {
	t.Helper()
	all, err := compose(ins)
	require.NoError(t, err)
	for _, raw := range all[0] {
		var o struct {
			Kind string
			Spec struct {
				Template struct {
					Metadata struct{ Annotations map[string]string }
				}
			}
		}
		require.NoError(t, json.Unmarshal(raw, &o))
		if o.Kind != "ConfigMap" && o.Kind != "Secret" {
			return o.Spec.Template.Metadata.Annotations["shipit.dev/config-hash"]
		}
	}
	return ""
}

func TestPodsRestartWhenTheDataThatTheyStartWithChanges(t *testing.T) {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: one}\n---\n"
	from := func(lines string) string { return settings + secret + workloadHead + lines }
	for _, tc := range []struct{ name, lines, change, to string }{
		{"a ConfigMap by envFrom", "        envFrom: [{configMapRef: {name: settings}}]\n", "info", "debug"},
		{"a Secret by envFrom", "        envFrom: [{secretRef: {name: keys}}]\n", "one", "two"},
		{"a key of a ConfigMap", "        env: [{name: L, valueFrom: {configMapKeyRef: {name: settings, key: level}}}]\n", "info", "debug"},
		{"a key of a Secret", "        env: [{name: L, valueFrom: {secretKeyRef: {name: keys, key: token}}}]\n", "one", "two"},
		{"a file that is mounted by subPath", "        volumeMounts: [{name: v, mountPath: /etc/l, subPath: level}]\n      volumes: [{name: v, configMap: {name: settings}}]\n", "info", "debug"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, after := roles(nil, "api", from(tc.lines)), roles(nil, "api", strings.Replace(from(tc.lines), tc.change, tc.to, 1))
			require.NotEmpty(t, hashOf(t, before))
			require.NotEqual(t, hashOf(t, before), hashOf(t, after))
			require.Equal(t, hashOf(t, before), hashOf(t, roles(nil, "api", strings.Replace(from(tc.lines), "name: settings}", "name: settings, labels: {a: b}}", 1))), "labels are no data")
			for _, ins := range [][]roleInput{before, after} {
				ins[0].Role.Kubernetes.IgnoreConfigChanges = true
				require.Empty(t, hashOf(t, ins), "ignoreConfigChanges")
			}
		})
	}
	t.Run("also where another role brings the ConfigMap", func(t *testing.T) {
		of := func(level string) []roleInput {
			return roles(nil, "api", workloadHead+"        envFrom: [{configMapRef: {name: settings}}]\n", "shared", strings.Replace(settings, "info", level, 1)+podNamed("b"))
		}
		require.NotEqual(t, hashOf(t, of("info")), hashOf(t, of("debug")))
	})
	t.Run("a volume that the kubelet keeps up to date restarts nothing", func(t *testing.T) {
		require.Empty(t, hashOf(t, roles(nil, "api", from("        volumeMounts: [{name: v, mountPath: /etc/l}]\n      volumes: [{name: v, configMap: {name: settings}}]\n"))))
	})
	t.Run("what is not of the release is told", func(t *testing.T) {
		ins := roles(nil, "api", settings+workloadHead+"        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: elsewhere}}]\n        readinessProbe: {tcpSocket: {port: 1}}\n")
		all, err := compose(ins)
		require.NoError(t, err)
		notes, err := notesOf(ins[0].Role, all[0])
		require.NoError(t, err)
		require.Len(t, notes, 1)
		require.Equal(t, "cluster: ConfigOutside Deployment joelclaw/web: reads Secret elsewhere, which is not part of the release: a change of the data does not restart the pods", strings.Replace(notes[0].String(), "api:", "cluster:", 1))
		require.Equal(t, release.Warns, notes[0].Severity)

		several := roles(nil, "api", workloadHead+"        envFrom: [{configMapRef: {name: a}}, {secretRef: {name: b}}, {secretRef: {name: c}}]\n        readinessProbe: {tcpSocket: {port: 1}}\n")
		objects, err := compose(several)
		require.NoError(t, err)
		notes, err = notesOf(several[0].Role, objects[0])
		require.NoError(t, err)
		require.Len(t, notes, 1)
		require.Contains(t, notes[0].Message, "reads ConfigMap a, Secret b and Secret c, which are not part of the release")

		ins[0].Role.Kubernetes.IgnoreConfigChanges = true
		notes, err = notesOf(ins[0].Role, all[0])
		require.NoError(t, err)
		require.Empty(t, notes)
	})
}
