package kube

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// standing is a role that runs, with the target that made it run.
type standing struct {
	t      *testing.T
	c      *user
	ns     string
	target *Target
	step   deploy.Step
	mu     sync.Mutex
	notes  []string
}

// stand gives a role with those objects, not yet released.
func stand(t *testing.T, docs ...string) *standing {
	t.Helper()
	s := &standing{t: t, c: connect(t)}
	s.ns = namespace(t, s.c)
	s.target = target(t, s.c, s.ns)
	s.target.options.Progress = func(e release.Event) {
		progress(t)(e)
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.Mark == release.MarkNote {
			s.notes = append(s.notes, e.Message)
		}
	}
	s.state(docs...)
	return s
}

// state says what the next release of the role is.
func (s *standing) state(docs ...string) {
	role := roleOf(s.t, s.ns, digestOf("v1"), docs...)
	s.step = deploy.Step{Release: release.Release{App: "test", Seq: 7, SHA: "1234567890", Roles: []release.Role{role}}, Role: role}
}

func (s *standing) release() {
	s.t.Helper()
	_, err := s.target.Switch(s.t.Context(), s.step)
	require.NoError(s.t, err)
}

// differs are the lines by which what is there differs from the release.
func (s *standing) differs() []string {
	s.t.Helper()
	seen, err := s.target.Compare(s.t.Context(), s.step)
	require.NoError(s.t, err)
	require.Empty(s.t, seen.Findings)
	var out []string
	for _, c := range seen.Changes {
		out = append(out, string(c.Action))
		if len(c.Fields) > 0 {
			out = append(out[:len(out)-1], strings.Split(release.Diff(c.Fields), "\n")...)
		}
	}
	return out
}

func (s *standing) deployment() *appsv1.Deployment {
	s.t.Helper()
	d, err := s.c.kube.AppsV1().Deployments(s.ns).Get(s.t.Context(), "web", metav1.GetOptions{})
	require.NoError(s.t, err)
	return d
}

// isAsMadeAnew demands that the Deployment is what it would be if nothing had ever
// been there but the release: the server is asked to make it, in a dry run.
func (s *standing) isAsMadeAnew() {
	s.t.Helper()
	made, err := s.c.kube.AppsV1().Deployments(s.ns).Create(s.t.Context(), s.fresh("fresh"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(s.t, err)
	require.Equal(s.t, made.Spec, s.deployment().Spec)
}

// fresh is the Deployment as it is released, with another name.
func (s *standing) fresh(name string) *appsv1.Deployment {
	s.t.Helper()
	var d appsv1.Deployment
	require.NoError(s.t, json.Unmarshal(s.step.Role.Objects[0], &d))
	d.Name = name
	return &d
}

// patch changes the Deployment web, or the Service web.
func (s *standing) patch(resource string, kind types.PatchType, manager, body string) {
	s.t.Helper()
	var err error
	o := metav1.PatchOptions{FieldManager: manager}
	if resource == "service" {
		_, err = s.c.kube.CoreV1().Services(s.ns).Patch(s.t.Context(), "web", kind, []byte(body), o)
	} else {
		_, err = s.c.kube.AppsV1().Deployments(s.ns).Patch(s.t.Context(), "web", kind, []byte(body), o)
	}
	require.NoError(s.t, err)
}

func (s *standing) scale(manager string, to int32) {
	s.t.Helper()
	scale, err := s.c.kube.AppsV1().Deployments(s.ns).GetScale(s.t.Context(), "web", metav1.GetOptions{})
	require.NoError(s.t, err)
	_, err = s.c.kube.AppsV1().Deployments(s.ns).UpdateScale(s.t.Context(), "web",
		&autoscalingv1.Scale{ObjectMeta: scale.ObjectMeta, Spec: autoscalingv1.ScaleSpec{Replicas: to}}, metav1.UpdateOptions{FieldManager: manager})
	require.NoError(s.t, err)
}

const inMain = `{"spec":{"template":{"spec":{"containers":[{"name":"main",%s}]}}}}`

func TestWhatAHandChangesIsDriftAndIsPutBack(t *testing.T) {
	t.Parallel()
	full := deployment("web", 2, `        env: [{name: A, value: "1"}, {name: B, value: "2"}]`, "        readinessProbe: {httpGet: {path: /, port: 8080}}", "        command: [run, fast]")
	full = strings.Replace(full, "requests: {", "limits: {memory: 64Mi}, requests: {", 1)
	ports := strings.Replace(service, "[{port: 80, targetPort: 8080}]", "[{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 8080}]", 1)
	s := stand(t, full, ports)
	s.release()
	strategic, jsonPatch := types.StrategicMergePatchType, types.JSONPatchType
	at := "/spec/template/spec/containers/0/"
	for _, tc := range []struct {
		name     string
		resource string
		kind     types.PatchType
		body     string
		line     string
	}{
		{"a variable added", "", strategic, strings.Replace(inMain, "%s", `"env":[{"name":"C","value":"3"}]`, 1), "- spec.template.spec.containers[main].env[C].value: 3"},
		{"a variable changed", "", strategic, strings.Replace(inMain, "%s", `"env":[{"name":"B","value":"9"}]`, 1), "+ spec.template.spec.containers[main].env[B].value: 2"},
		{"a variable removed", "", jsonPatch, `[{"op":"remove","path":"` + at + `env/1"}]`, "+ spec.template.spec.containers[main].env[B].value: 2"},
		{"a probe removed", "", jsonPatch, `[{"op":"remove","path":"` + at + `readinessProbe"}]`, "+ spec.template.spec.containers[main].readinessProbe.httpGet.port: 8080"},
		{"a probe added", "", strategic, strings.Replace(inMain, "%s", `"livenessProbe":{"httpGet":{"path":"/x","port":8080}}`, 1), "- spec.template.spec.containers[main].livenessProbe.httpGet.path: /x"},
		{"a limit removed", "", jsonPatch, `[{"op":"remove","path":"` + at + `resources/limits"}]`, "+ spec.template.spec.containers[main].resources.limits.memory: 64Mi"},
		{"a limit added", "", strategic, strings.Replace(inMain, "%s", `"resources":{"limits":{"cpu":"1"}}`, 1), `- spec.template.spec.containers[main].resources.limits.cpu: 1`},
		{"a container added", "", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"extra","image":"registry.test/extra:1"}]}}}}`, "- spec.template.spec.containers[extra].image: registry.test/extra:1"},
		{"a volume added and mounted", "", strategic, `{"spec":{"template":{"spec":{"volumes":[{"name":"x","emptyDir":{}}],"containers":[{"name":"main","volumeMounts":[{"name":"x","mountPath":"/x"}]}]}}}}`, "- spec.template.spec.volumes[x].emptyDir: {}"},
		{"a list that is one value", "", strategic, strings.Replace(inMain, "%s", `"command":["sleep"]`, 1), "+ spec.template.spec.containers[main].command[run]: run"},
		{"a port of another number with the same name", "", jsonPatch, `[{"op":"replace","path":"` + at + `ports/0/containerPort","value":80}]`, "- spec.template.spec.containers[main].ports[80].containerPort: 80"},
		{"a security context", "", strategic, `{"spec":{"template":{"spec":{"securityContext":{"runAsUser":7}}}}}`, "- spec.template.spec.securityContext.runAsUser: 7"},
		{"another strategy", "", types.MergePatchType, `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`, "- spec.strategy.type: Recreate"},
		{"a label of the pods", "", strategic, `{"spec":{"template":{"metadata":{"labels":{"tier":"x"}}}}}`, "- spec.template.metadata.labels.tier: x"},
		{"a selector that is narrower", "service", types.MergePatchType, `{"spec":{"selector":{"tier":"x"}}}`, "- spec.selector.tier: x"},
		{"a port removed from the Service", "service", jsonPatch, `[{"op":"remove","path":"/spec/ports/1"}]`, "+ spec.ports[81].port: 81"},
		{"a port added to the Service", "service", strategic, `{"spec":{"ports":[{"name":"c","port":82}]}}`, "- spec.ports[82].port: 82"},
		{"an annotation of the Service", "service", types.MergePatchType, `{"metadata":{"annotations":{"lb.test/mode":"x"}}}`, "- metadata.annotations.lb.test/mode: x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			s.patch(tc.resource, tc.kind, "kubectl-edit", tc.body)
			require.Contains(t, s.differs(), tc.line)
			s.release()
			require.Empty(t, s.differs())
			s.isAsMadeAnew()
		})
	}
	for _, to := range []int32{0, 3} {
		t.Run("replicas by hand", func(t *testing.T) {
			s.t = t
			s.scale("kubectl", to)
			require.Contains(t, s.differs(), "+ spec.replicas: 2")
			s.release()
			require.Empty(t, s.differs())
			s.isAsMadeAnew()
			// Of a scale to 0 the server keeps no manager.
			require.True(t, to == 0 || strings.Contains(strings.Join(s.notes, "\n"), "Deployment "+s.ns+"/web: the release's fields win over kubectl (spec.replicas)"))
		})
	}
}

func TestWhatAControllerChangesIsLeft(t *testing.T) {
	t.Parallel()
	s := stand(t, deployment("web", 2), strings.Replace(service, "[{port", "[{name: a, port", 1))
	s.release()
	for _, tc := range []struct{ name, manager, body string }{
		{"a sidecar injector", "linkerd-proxy-injector", `{"spec":{"template":{"spec":{"containers":[{"name":"proxy","image":"registry.test/proxy:1"}]}}}}`},
		{"an operator", "config-operator", strings.Replace(inMain, "%s", `"env":[{"name":"INJECTED","value":"1"}]`, 1)},
		{"a restart by kubectl", "kubectl-rollout", `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-28T09:00:00Z"}}}}}`},
		{"a note of a person", "kubectl-annotate", `{"metadata":{"annotations":{"team.test/note":"x"}}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			s.patch("", types.StrategicMergePatchType, tc.manager, tc.body)
			require.Empty(t, s.differs())
			before := s.deployment().Generation
			s.patch("service", types.StrategicMergePatchType, "kubectl-edit", `{"spec":{"ports":[{"name":"c","port":82}]}}`)
			s.release()
			require.Equal(t, before, s.deployment().Generation)
		})
	}
	t.Run("they stay when a person has changed the same object", func(t *testing.T) {
		s.t = t
		s.patch("", types.StrategicMergePatchType, "kubectl-set", strings.Replace(inMain, "%s", `"env":[{"name":"BYHAND","value":"1"}]`, 1))
		require.Equal(t, []string{"- spec.template.spec.containers[main].env[BYHAND].name: BYHAND", "- spec.template.spec.containers[main].env[BYHAND].value: 1"}, s.differs())
		s.release()
		require.Empty(t, s.differs())
		d := s.deployment()
		env := map[string][]string{}
		for _, container := range d.Spec.Template.Spec.Containers {
			env[container.Name] = []string{}
			for _, e := range container.Env {
				env[container.Name] = append(env[container.Name], e.Name)
			}
		}
		require.Equal(t, map[string][]string{"main": {"INJECTED"}, "proxy": {}}, env)
		require.NotEmpty(t, d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	})
}

func TestReplicasThatTheReleaseLeavesOpen(t *testing.T) {
	t.Parallel()
	s := stand(t, strings.Replace(deployment("web", 1), "  replicas: 1\n", "", 1))
	s.release()
	s.scale("kubectl", 3)
	require.Empty(t, s.differs(), "the release leaves them to whoever scales")
	s.patch("", types.MergePatchType, "kubectl-patch", `{"spec":{"replicas":0}}`)
	require.Contains(t, s.differs(), "- spec.replicas: 0")
	s.release()
	require.EqualValues(t, 1, *s.deployment().Spec.Replicas)
}

func TestFirstReleaseOverWhatAnotherToolMade(t *testing.T) {
	t.Parallel()
	const oldEnv = `        env: [{name: OLD, value: "1"}, {name: KEEP, value: "1"}]`
	for _, manager := range []string{"kubectl-client-side-apply", "helm", "kubectl-create", "before-first-apply", "Terraform"} {
		t.Run(manager, func(t *testing.T) {
			s := stand(t, deployment("web", 2, oldEnv))
			theirs := s.fresh("web")
			theirs.Labels["theirs"] = "yes"
			theirs.Spec.Template.Spec.Containers[0].Ports[0].Name = "http"
			theirs.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 80
			_, err := s.c.kube.AppsV1().Deployments(s.ns).Create(t.Context(), theirs, metav1.CreateOptions{FieldManager: manager})
			require.NoError(t, err)

			mine := strings.Replace(deployment("web", 2, `        env: [{name: KEEP, value: "1"}]`), "[{containerPort: 8080}]", "[{containerPort: 8080, name: http}]", 1)
			s.state(strings.Replace(mine, "  replicas: 2\n", "  replicas: 2\n  progressDeadlineSeconds: 77\n", 1))
			checked, err := s.target.Preflight(t.Context(), s.step.Release, s.step.Release.Roles, false)
			require.NoError(t, err)
			require.Empty(t, checked.Findings)
			lines := s.differs()
			require.Contains(t, lines, "- spec.template.spec.containers[main].env[OLD].value: 1")
			require.Contains(t, lines, "- spec.template.spec.containers[main].ports[80].containerPort: 80")
			require.Contains(t, lines, "+ spec.progressDeadlineSeconds: 77")
			s.release()
			require.Empty(t, s.differs())
			s.isAsMadeAnew()
			require.NotContains(t, s.deployment().Labels, "theirs")
			require.Contains(t, strings.Join(s.notes, "\n"), "the release's fields win over "+manager+" (")
		})
	}
}

func TestAPodThatAHandChangedIsReplaced(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]string{
		"by a release that changes nothing":                 deployment("web", 2),
		"by a release that changes nothing of the pods":     strings.Replace(deployment("web", 2), "metadata: {name: web,", "metadata: {annotations: {shipit.dev/sha: next}, name: web,", 1),
		"by a release that changes the number of pods only": deployment("web", 3),
	} {
		t.Run(name, func(t *testing.T) {
			s := stand(t, deployment("web", 2))
			s.release()
			s.state(next)
			replacesAChangedPod(t, s)
		})
	}
}

func replacesAChangedPod(t *testing.T, s *standing) {
	t.Helper()
	before := podUIDs(t, s.c, s.ns)
	other := repository + "@" + digestOf("other")
	var changed string
	for changed = range before {
	}
	_, err := s.c.kube.CoreV1().Pods(s.ns).Patch(t.Context(), changed, types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"main","image":"`+other+`"}]}}`), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	require.NoError(t, err)
	require.Subset(t, s.differs(), []string{"- spec.containers[main].image: " + other, "+ spec.containers[main].image: " + s.step.Role.Reference()})
	s.release()
	require.Empty(t, s.differs())
	after := podUIDs(t, s.c, s.ns)
	require.GreaterOrEqual(t, len(after), 2)
	require.NotContains(t, after, changed)
	require.Contains(t, strings.Join(s.notes, "\n"), "Pod "+s.ns+"/"+changed+" was changed by kubectl-patch: it is replaced")
	seen, err := s.target.Compare(t.Context(), s.step)
	require.NoError(t, err)
	require.Equal(t, seen.Live.Desired, seen.Live.Ready)
	for name, uid := range before {
		require.True(t, name == changed || after[name] == uid, "the other pod is left alone")
	}
}
