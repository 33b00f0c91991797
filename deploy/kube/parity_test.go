package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// parityTime is how long random sequences are tried; SHIPIT_PARITY_TIME makes it longer.
func parityTime(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("SHIPIT_PARITY_TIME"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	return time.Minute
}

// TestParityHoldsWhateverHappened makes random sequences of releases, rollbacks,
// releases that fail or are interrupted, and changes by another hand. Roles come, go
// and move to another namespace. It requires after each: what settled in parity, or was
// restored, has no drift and needs no change; what another hand changed of what runs is
// drift, and what it noted beside it is none; and the next command puts it right.
func TestParityHoldsWhateverHappened(t *testing.T) {
	t.Parallel()
	c := connect(t)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SHIPIT_PARITY_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		require.NoError(t, err)
	}
	end := time.Now().Add(parityTime(t))
	rounds := 0
	for ; time.Now().Before(end) && !t.Failed(); rounds++ {
		t.Run(fmt.Sprintf("SHIPIT_PARITY_SEED=%d", seed), func(t *testing.T) {
			newHistory(t, c, seed).play(16, end)
		})
		seed++
	}
	t.Logf("%d sequences", rounds)
}

// history is one random sequence in a namespace of its own.
type history struct {
	t      *testing.T
	c      *user
	ns     string
	other  string // namespace that the role worker moves to and from
	r      *rand.Rand
	engine deploy.Engine
	want   release.Release // what was last asked for
	did    []string
}

func newHistory(t *testing.T, c *user, seed uint64) *history {
	t.Helper()
	h := &history{t: t, c: c, ns: namespace(t, c), other: namespace(t, c), r: rand.New(rand.NewPCG(seed, 0))}
	cfg := config.Config{Path: "shipit.yaml", App: "test"}
	for _, name := range []string{"web", "worker"} {
		cfg.Roles = append(cfg.Roles, config.Role{Name: name, Stable: briefly, Kubernetes: &config.Kubernetes{Namespace: h.ns}})
	}
	target, err := Open(t.Context(), cfg, Options{Kubeconfig: plane.path, Timeout: time.Minute})
	require.NoError(t, err)
	h.engine = deploy.Engine{
		Config: cfg, Targets: map[release.Target]deploy.Target{release.TargetKubernetes: target},
		Ledger: ledger.New(ledgertest.NewStore(), "test", ledger.Options{}), Timeout: time.Minute,
	}
	return h
}

func (h *history) play(steps int, end time.Time) {
	h.release()
	for range steps {
		if time.Now().After(end) {
			return
		}
		switch h.r.IntN(12) {
		case 0:
			h.rollback("")
		case 1:
			h.rollback(h.anyGood())
		case 2, 3, 4:
			h.release()
		case 5:
			h.fail()
		case 6:
			h.interrupt()
		case 7:
			h.note()
		default:
			h.change()
		}
	}
}

// story is what happened, for the message of a failure.
func (h *history) story() string { return strings.Join(h.did, "\n") }

// variant is a role with random content in a namespace; more goes into its container.
func (h *history) variant(name, ns string, more ...string) release.Role {
	var env []string
	for _, key := range []string{"A", "B", "C"} {
		if h.r.IntN(2) == 0 {
			env = append(env, fmt.Sprintf("{name: %s, value: %q}", key, fmt.Sprint(h.r.IntN(3))))
		}
	}
	extra := []string{"        env: [" + strings.Join(env, ", ") + "]"}
	if len(more) > 0 {
		extra = more
	}
	if h.r.IntN(2) == 0 {
		extra = append(extra, "        readinessProbe: {httpGet: {path: /, port: 8080}}")
	}
	if h.r.IntN(2) == 0 {
		extra[0] += "\n        terminationMessagePath: /dev/termination-log"
	}
	docs := []string{strings.ReplaceAll(deployment("web", 1+h.r.IntN(2), extra...), "web", name)}
	if h.r.IntN(4) == 0 { // the API server's default, or an autoscaler's business
		docs[0] = regexp.MustCompile(`  replicas: \d+\n`).ReplaceAllString(docs[0], "")
	}
	if h.r.IntN(2) == 0 {
		docs = append(docs, strings.ReplaceAll(service, "web", name))
	}
	if h.r.IntN(2) == 0 {
		docs = append(docs, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s-settings, namespace: $NS}\ndata: {k: %q}", name, fmt.Sprint(h.r.IntN(3))))
	}
	role := roleOf(h.t, ns, digestOf(fmt.Sprint("v", h.r.IntN(3))), docs...)
	role.Name = name
	return role
}

// next is a release of random roles.
func (h *history) next() release.Release {
	rel := release.Release{App: "test", Kind: release.KindRelease, SHA: fmt.Sprintf("%040x", h.r.Uint64()), Roles: []release.Role{h.variant("web", h.ns)}}
	where := []string{"", h.ns, h.other}[h.r.IntN(3)]
	if where != "" {
		rel.Roles = append(rel.Roles, h.variant("worker", where))
	}
	h.did = append(h.did, fmt.Sprintf("release %s, worker in %q", rel.SHA[24:31], where))
	return rel
}

func (h *history) tell(ctx context.Context, rel release.Release) (release.Record, error) {
	history, err := h.engine.Read(h.t.Context())
	require.NoError(h.t, err, h.story())
	return h.engine.Release(ctx, rel, deploy.Terms{History: history})
}

func (h *history) release() {
	rel := h.next()
	record, err := h.tell(h.t.Context(), rel)
	require.NoError(h.t, err, h.story())
	h.want = rel
	h.holds(record)
}

// again releases what was last asked for once more.
func (h *history) again() release.Record {
	again := h.want
	again.Kind, again.Seq, again.Origin = release.KindRelease, 0, 0
	h.did = append(h.did, "the same release again")
	record, err := h.tell(h.t.Context(), again)
	require.NoError(h.t, err, h.story())
	return record
}

// fail releases a role that crashes: the last good release is put back.
func (h *history) fail() {
	rel := h.next()
	where := []string{h.ns, h.other}[h.r.IntN(2)]
	crashing := h.variant("worker", where, fate("crash"))
	if h.r.IntN(2) == 0 {
		crashing = h.variant("web", h.ns, fate("crash"))
	}
	rel.Roles = append(slices.DeleteFunc(rel.Roles, func(r release.Role) bool { return r.Name == crashing.Name }), crashing)
	h.did = append(h.did, fmt.Sprintf("of which %s crashes in %s", crashing.Name, where))
	record, err := h.tell(h.t.Context(), rel)
	require.NoError(h.t, err, h.story())
	require.Equal(h.t, release.Restored, record.Outcome, "%s\n%s", record.Reason, h.story())
	h.nothingDiffers()
}

// interrupt ends a release at any moment, and puts that right by the next command.
func (h *history) interrupt() {
	rel := h.next()
	limit := time.Duration(h.r.IntN(1500)) * time.Millisecond
	h.did = append(h.did, fmt.Sprintf("interrupted after %s", limit))
	ctx, cancel := context.WithTimeout(h.t.Context(), limit)
	record, err := h.tell(ctx, rel)
	cancel()
	if err == nil && record.Outcome == release.Settled {
		h.want = rel
		h.holds(record)
		return
	}
	if len(h.plan()) > 0 {
		require.NotEmpty(h.t, h.drift(), "the plan has something to do\n%s", h.story())
	}
	if h.r.IntN(2) == 0 {
		h.rollback("")
		return
	}
	h.holds(h.again())
}

// note lets a person write something down beside what runs: that is no drift.
func (h *history) note() {
	h.did = append(h.did, "kubectl annotate")
	_, err := h.c.kube.AppsV1().Deployments(h.ns).Patch(h.t.Context(), "web", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"example.com/note":"byhand"},"labels":{"example.com/team":"byhand"}}}`), metav1.PatchOptions{FieldManager: "kubectl-annotate"})
	require.NoError(h.t, err, h.story())
	h.settlesDown()
}

// settlesDown requires that nothing differs once the controllers have seen a change.
func (h *history) settlesDown() {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return len(h.drift()) == 0 }, time.Minute, 20*time.Millisecond, h.story())
	h.nothingDiffers()
}

// leavesReplicas reports whether the release leaves the replicas to whoever scales.
func (h *history) leavesReplicas() bool {
	role, _ := h.want.Role("web")
	return !strings.Contains(string(role.Objects[0]), `"replicas"`)
}

// anyGood is the number of a release that can be rolled back to.
func (h *history) anyGood() string {
	records, err := h.engine.Ledger.List(h.t.Context(), 0, 0)
	require.NoError(h.t, err)
	records = slices.DeleteFunc(records, func(r release.Record) bool { return !r.Good() })
	return fmt.Sprint(records[h.r.IntN(len(records))].Seq)
}

func (h *history) rollback(to string) {
	h.did = append(h.did, "rollback "+to)
	record, err := h.engine.Rollback(h.t.Context(), to, deploy.Terms{})
	var none *release.NoneError
	if errors.As(err, &none) {
		return
	}
	require.NoError(h.t, err, h.story())
	entry, err := h.engine.Ledger.Read(h.t.Context(), record.Seq)
	require.NoError(h.t, err)
	h.want = entry.Release()
	h.holds(record)
}

// holds requires that a record is in parity, and by status and plan, too.
func (h *history) holds(record release.Record) {
	h.t.Helper()
	require.Equal(h.t, release.Settled, record.Outcome, "%s\n%s", record.Reason, h.story())
	require.True(h.t, record.Parity, "%s\n%s", record.Reason, h.story())
	h.nothingDiffers()
}

func (h *history) nothingDiffers() {
	h.t.Helper()
	require.Empty(h.t, h.drift(), h.story())
	require.Empty(h.t, h.plan(), h.story())
}

func (h *history) drift() []release.Drift {
	status, err := h.engine.Status(h.t.Context())
	require.NoError(h.t, err, h.story())
	return status.Record.Drift
}

func (h *history) plan() []deploy.Change {
	history, err := h.engine.Read(h.t.Context())
	require.NoError(h.t, err, h.story())
	plan, err := h.engine.Plan(h.t.Context(), h.want, deploy.Terms{History: history}, nil)
	require.NoError(h.t, err, h.story())
	return plan.Changes
}

// hand is a change that another hand makes to what runs.
type hand struct {
	name string
	do   func(h *history) error
}

const scaledUp = "scaled up"

func hands() []hand {
	patch := func(kind types.PatchType, manager, body string) func(h *history) error {
		return func(h *history) error {
			_, err := h.c.kube.AppsV1().Deployments(h.ns).Patch(h.t.Context(), "web", kind, []byte(body), metav1.PatchOptions{FieldManager: manager})
			return err
		}
	}
	strategic := func(body string) func(h *history) error {
		return patch(types.StrategicMergePatchType, "kubectl-edit", body)
	}
	container := func(body string) func(h *history) error {
		return strategic(`{"spec":{"template":{"spec":{"containers":[{"name":"main",` + body + `}]}}}}`)
	}
	return []hand{
		{"scaled to nothing", strategic(`{"spec":{"replicas":0}}`)},
		{scaledUp, strategic(`{"spec":{"replicas":5}}`)},
		{"a rollout paused", strategic(`{"spec":{"paused":true}}`)},
		{"the environment removed", patch(types.JSONPatchType, "kubectl-edit", `[{"op":"remove","path":"/spec/template/spec/containers/0/env"}]`)},
		{"the service deleted", func(h *history) error {
			return h.c.kube.CoreV1().Services(h.ns).Delete(h.t.Context(), "web", metav1.DeleteOptions{})
		}},
		{"the settings deleted", func(h *history) error {
			return h.c.kube.CoreV1().ConfigMaps(h.ns).Delete(h.t.Context(), "web-settings", metav1.DeleteOptions{})
		}},
		{"a worker deleted where it was moved to", func(h *history) error {
			return h.c.kube.AppsV1().Deployments(h.other).Delete(h.t.Context(), "worker", metav1.DeleteOptions{})
		}},
		{"a variable added", container(`"env":[{"name":"BYHAND","value":"1"}]`)},
		{"a variable changed or added", container(`"env":[{"name":"A","value":"byhand"}]`)},
		{"a container added", strategic(`{"spec":{"template":{"spec":{"containers":[{"name":"extra","image":"registry.test/extra:1"}]}}}}`)},
		{"a volume added", strategic(`{"spec":{"template":{"spec":{"volumes":[{"name":"extra","emptyDir":{}}]}}}}`)},
		{"a memory limit added", container(`"resources":{"limits":{"memory":"1Gi"}}`)},
		{"the memory request changed", container(`"resources":{"requests":{"memory":"2000Ki"}}`)},
		{"a liveness probe added", container(`"livenessProbe":{"httpGet":{"path":"/x","port":8080}}`)},
		{"another image", container(`"image":"registry.test/other@` + digestOf("other") + `"`)},
		{"the ports removed", patch(types.JSONPatchType, "kubectl-edit", `[{"op":"remove","path":"/spec/template/spec/containers/0/ports"}]`)},
		{"a command added", container(`"command":["sleep","1"]`)},
		{"the deployment deleted", func(h *history) error {
			return h.c.kube.AppsV1().Deployments(h.ns).Delete(h.t.Context(), "web", metav1.DeleteOptions{})
		}},
		{"the service's selector widened", func(h *history) error {
			_, err := h.c.kube.CoreV1().Services(h.ns).Patch(h.t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"selector":{"tier":"x"}}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			return err
		}},
		{"a port added to the service", func(h *history) error {
			_, err := h.c.kube.CoreV1().Services(h.ns).Patch(h.t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"ports":[{"name":"b","port":81}]}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			return err
		}},
		{"a probe removed", patch(types.JSONPatchType, "kubectl-edit", `[{"op":"remove","path":"/spec/template/spec/containers/0/readinessProbe"}]`)},
		{"the pods' labels widened", strategic(`{"spec":{"template":{"metadata":{"labels":{"tier":"x"}}}}}`)},
		{"another strategy", patch(types.MergePatchType, "Terraform", `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`)},
		{"a port of another number", patch(types.JSONPatchType, "kubectl-edit", `[{"op":"replace","path":"/spec/template/spec/containers/0/ports/0/containerPort","value":81}]`)},
		{"a pod patched", func(h *history) error {
			pods, err := h.c.kube.CoreV1().Pods(h.ns).List(h.t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
			if err != nil {
				return err
			}
			for _, p := range pods.Items {
				if p.DeletionTimestamp == nil {
					body := `{"spec":{"containers":[{"name":"main","image":"registry.test/other@` + digestOf("other") + `"}]}}`
					_, err = h.c.kube.CoreV1().Pods(h.ns).Patch(h.t.Context(), p.Name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "kubectl-patch"})
					return err
				}
			}
			return nil
		}},
		{"a setting added", func(h *history) error {
			_, err := h.c.kube.CoreV1().ConfigMaps(h.ns).Patch(h.t.Context(), "web-settings", types.MergePatchType, []byte(`{"data":{"byhand":"1"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			return err
		}},
		{"a setting changed", func(h *history) error {
			_, err := h.c.kube.CoreV1().ConfigMaps(h.ns).Patch(h.t.Context(), "web-settings", types.MergePatchType, []byte(`{"data":{"k":"byhand"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			return err
		}},
	}
}

// change lets another hand change what runs, and demands that it is seen, and
// that the same release again puts it right.
func (h *history) change() {
	all := hands()
	hand := all[h.r.IntN(len(all))]
	err := hand.do(h)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return // this release has no such object
	}
	require.NoError(h.t, err, hand.name)
	h.did = append(h.did, "by hand: "+hand.name)
	if hand.name == scaledUp && h.leavesReplicas() {
		h.settlesDown()
		return
	}
	require.NotEmpty(h.t, h.drift(), "not seen: %s\n%s", hand.name, h.story())
	h.holds(h.again())
	h.asMadeAnew()
}

// asMadeAnew demands that the Deployment is what it would be if nothing had ever
// been there but the release: the server is asked to make it, in a dry run.
func (h *history) asMadeAnew() {
	h.t.Helper()
	live, err := h.c.kube.AppsV1().Deployments(h.ns).Get(h.t.Context(), "web", metav1.GetOptions{})
	require.NoError(h.t, err)
	role, _ := h.want.Role("web")
	var fresh appsv1.Deployment
	require.NoError(h.t, json.Unmarshal(role.Objects[0], &fresh))
	fresh.Name = "fresh"
	made, err := h.c.kube.AppsV1().Deployments(h.ns).Create(h.t.Context(), &fresh, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(h.t, err)
	if h.leavesReplicas() && *live.Spec.Replicas > 0 {
		made.Spec.Replicas = live.Spec.Replicas
	}
	require.Equal(h.t, made.Spec, live.Spec, h.story())
}
