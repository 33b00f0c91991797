package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/release"
)

// wire is a TCP proxy in front of the API server whose connections can be cut.
type wire struct {
	net.Listener
	target string
	mu     sync.Mutex
	open   []net.Conn
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{Listener: l, target: target}
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", w.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return w
}

// cut ends every connection, and reports how many there were.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	n := len(w.open) / 2
	w.open = nil
	return n
}

// overWire connects by way of a wire.
func overWire(t *testing.T) (*user, *wire) {
	t.Helper()
	connect(t)
	cfg := planeConfig(t)
	w := newWire(t, strings.TrimPrefix(cfg.Host, "https://"))
	cfg.Host = "https://" + w.Addr().String()
	return newUser(t, cfg), w
}

func TestWaitOverCutConnections(t *testing.T) {
	t.Parallel()
	c, w := overWire(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 3, fate("slow")))
	a, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	done := make(chan struct{})
	cuts := 0
	go func() {
		defer close(done)
		for range 20 {
			time.Sleep(300 * time.Millisecond)
			cuts += w.cut()
		}
	}()
	live, err := c.Wait(t.Context(), role, a, Options{Timeout: 2 * time.Minute, Progress: progress(t)})
	<-done
	require.NoError(t, err)
	require.Equal(t, 3, live.Ready)
	require.Greater(t, cuts, 5, "connections were really cut")
}

func TestWaitOverARestartOfTheAPIServer(t *testing.T) {
	c := connect(t)
	for _, tc := range []struct{ fate, code string }{{"slow", ""}, {"crash", "CrashLoop"}} {
		t.Run("a rollout of pods that are "+tc.fate+" ends as without it", func(t *testing.T) {
			ns := namespace(t, c)
			role := roleOf(t, ns, digestOf("v1"), deployment("web", 2, fate(tc.fate)))
			a, err := c.Apply(t.Context(), role, options(t))
			require.NoError(t, err)
			restarted := make(chan error, 1)
			go func() {
				time.Sleep(500 * time.Millisecond)
				restarted <- plane.up.RestartAPIServer(context.Background())
			}()
			live, err := c.Wait(t.Context(), role, a, Options{Timeout: 3 * time.Minute, Progress: progress(t)})
			require.NoError(t, <-restarted)
			if tc.code == "" {
				require.NoError(t, err)
				require.Equal(t, 2, live.Ready)
				return
			}
			var f *release.Failure
			require.ErrorAs(t, err, &f)
			require.EqualValues(t, tc.code, f.Code)
		})
	}
	t.Run("an apply goes on where it was", func(t *testing.T) {
		ns := namespace(t, c)
		restarted := make(chan error, 1)
		go func() { restarted <- plane.up.RestartAPIServer(context.Background()) }()
		_, _, err := roll(t, c, fleet(t, ns, digestOf("v1"), 60, 2, 1))
		require.NoError(t, <-restarted)
		require.NoError(t, err)
	})
}

// webhook makes an admission webhook that never answers stand before a resource
// of a namespace.
func webhook(t *testing.T, c *user, ns, group, resource string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	url, policy, none, limit := "https://"+l.Addr().String(), admissionv1.Fail, admissionv1.SideEffectClassNone, int32(1)
	hooks := c.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err = hooks.Create(t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "silent.test.dev", ClientConfig: admissionv1.WebhookClientConfig{URL: &url}, FailurePolicy: &policy, SideEffects: &none,
			TimeoutSeconds: &limit, AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{"*"},
				Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}}}},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hooks.Delete(context.Background(), ns, metav1.DeleteOptions{}) })
	require.Eventually(t, func() bool { // the API server reads its webhooks in its own time
		return strings.Contains(fmt.Sprint(dryCreate(t, c, ns, resource)), "silent.test.dev")
	}, time.Minute, 20*time.Millisecond, "the webhook is not asked")
}

// dryCreate asks the API server to make one of the Deployments or pods of a namespace, in a
// dry run.
func dryCreate(t *testing.T, c *user, ns, resource string) error {
	t.Helper()
	var d appsv1.Deployment
	require.NoError(t, json.Unmarshal(roleOf(t, ns, digestOf("v1"), deployment("probe", 1)).Objects[0], &d))
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if resource == "pods" {
		_, err := c.kube.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: d.Spec.Template.Spec}, dry)
		return err
	}
	_, err := c.kube.AppsV1().Deployments(ns).Create(t.Context(), &d, dry)
	return err
}

func TestWebhookThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := connect(t)
	t.Run("before the objects, it is found by the plan and named by the apply", func(t *testing.T) {
		ns := namespace(t, c)
		webhook(t, c, ns, "apps", "deployments")
		role := roleOf(t, ns, digestOf("v1"), deployment("web", 1))
		plan, err := c.Diff(t.Context(), role, options(t))
		require.NoError(t, err)
		require.Len(t, plan.Findings, 1)
		require.Equal(t, release.CodeWebhookUnreachable, plan.Findings[0].Code)
		require.Contains(t, plan.Findings[0].Message, "silent.test.dev")
		_, err = c.Apply(t.Context(), role, options(t))
		require.ErrorContains(t, err, "silent.test.dev")
		require.NotContains(t, err.Error(), "\n")
	})
	t.Run("before the pods, the wait goes on to its limit and says what it waits for", func(t *testing.T) {
		ns := namespace(t, c)
		webhook(t, c, ns, "", "pods")
		f, _ := failAfter(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 1)), 3*time.Second, warned(t, c, ns, "silent.test.dev"))
		require.Equal(t, release.CodeDeadlineExceeded, f.Code)
		require.Contains(t, f.Message, "WebhookUnreachable")
		require.Contains(t, f.Message, "silent.test.dev")
	})
}

func TestPing(t *testing.T) {
	c := connect(t)
	require.NoError(t, c.Ping(t.Context()))

	t.Run("a server that is not there is told in one line", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		cfg := planeConfig(t)
		cfg.Host = "https://" + l.Addr().String()
		require.NoError(t, l.Close())
		err = newUser(t, cfg).Ping(t.Context())
		var unreachable *client.UnreachableError
		require.ErrorAs(t, err, &unreachable)
		require.NotContains(t, err.Error(), "\n")
		require.NotEmpty(t, unreachable.Hint())
	})
	t.Run("credentials that are not known are told", func(t *testing.T) {
		cfg := planeConfig(t)
		cfg.BearerToken, cfg.CertData, cfg.KeyData, cfg.CertFile, cfg.KeyFile = "nonsense", nil, nil, "", ""
		var unauthorized *client.UnauthorizedError
		require.ErrorAs(t, newUser(t, cfg).Ping(t.Context()), &unauthorized)
	})
	t.Run("a context that is not there is named", func(t *testing.T) {
		_, err := client.Connect(client.Options{Kubeconfig: plane.path, Context: "nope"})
		var missing *client.ConfigError
		require.ErrorAs(t, err, &missing)
		require.Contains(t, err.Error(), `"nope"`)
	})
}
