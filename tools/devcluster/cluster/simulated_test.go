package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

const grace = 2 * time.Minute

// up brings a cluster up for the time of the test.
func up(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	o.Progress = func(line string) { t.Log(line) }
	c, err := cluster.Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(context.Background())) })
	return c
}

func client(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	kube, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return kube
}

// pod is the template of all that these tests run.
func pod(name string, containers ...corev1.Container) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: containers},
	}
}

func deploy(t *testing.T, kube kubernetes.Interface, name string, replicas int32, template corev1.PodTemplateSpec) {
	t.Helper()
	_, err := kube.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: template,
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// awaitPods returns the pods of name once good says yes to them.
func awaitPods(t *testing.T, kube kubernetes.Interface, name string, good func([]corev1.Pod) bool) []corev1.Pod {
	t.Helper()
	var seen []corev1.Pod
	require.Eventually(t, func() bool {
		list, err := kube.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return false
		}
		seen = list.Items
		return len(seen) > 0 && good(seen)
	}, grace, 50*time.Millisecond, "pods of %s", name)
	return seen
}

func allReady(want int) func([]corev1.Pod) bool {
	return func(pods []corev1.Pod) bool {
		ready := 0
		for _, p := range pods {
			if isReady(p) {
				ready++
			}
		}
		return ready == want
	}
}

func isReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// waits tells whether a container of each pod waits for the reason.
func waits(reason string) func([]corev1.Pod) bool {
	return func(pods []corev1.Pod) bool {
		for _, p := range pods {
			for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
				if s.State.Waiting != nil && s.State.Waiting.Reason == reason {
					return true
				}
			}
		}
		return false
	}
}

func container(image string, env ...corev1.EnvVar) corev1.Container {
	return corev1.Container{Name: "main", Image: image, Env: env}
}

const pinned = "ghcr.io/joelhooks/demo@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestSimulatedCluster(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(http.LocalAddrContextKey), " ", r.URL.Path)
	})
	// The API server reaches pods straight, whatever proxy the user has for the world.
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	c := up(t, cluster.Options{Dir: filepath.Join(t.TempDir(), "one"), Nodes: 2, Pods: answer, Audit: true})
	kube := client(t, c)

	t.Run("a deployment becomes ready and reports its digest as what runs", func(t *testing.T) {
		template := pod("demo", container(pinned))
		template.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: pinned}}
		deploy(t, kube, "demo", 3, template)
		for _, p := range awaitPods(t, kube, "demo", allReady(3)) {
			require.Equal(t, pinned, p.Status.ContainerStatuses[0].ImageID)
			require.True(t, strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://"))
			require.NotNil(t, p.Status.InitContainerStatuses[0].State.Terminated)
		}
	})
	t.Run("a broken commit fails by its environment under an equal image", func(t *testing.T) {
		for fault, reason := range map[string]string{
			"crash-on-boot": "CrashLoopBackOff", "missing-image": "ImagePullBackOff", "denied": "ImagePullBackOff",
			"init-crash": "CrashLoopBackOff", "no-config": "CreateContainerConfigError",
		} {
			template := pod(fault, container(pinned, corev1.EnvVar{Name: "FIXTURE_FAULT", Value: fault}))
			template.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: pinned}}
			deploy(t, kube, fault, 1, template)
			awaitPods(t, kube, fault, waits(reason))
		}
	})
	t.Run("a crash loop counts its restarts", func(t *testing.T) {
		pods := awaitPods(t, kube, "crash-on-boot", func(pods []corev1.Pod) bool {
			return pods[0].Status.ContainerStatuses[0].RestartCount >= 3
		})
		require.EqualValues(t, 1, pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
	})
	t.Run("a pod that never turns healthy runs and stays unready", func(t *testing.T) {
		deploy(t, kube, "hang", 1, pod("hang", container(pinned, corev1.EnvVar{Name: "FIXTURE_FAULT", Value: "never-healthy"})))
		pods := awaitPods(t, kube, "hang", func(pods []corev1.Pod) bool { return pods[0].Status.Phase == corev1.PodRunning })
		require.False(t, isReady(pods[0]))
	})
	t.Run("an image's name decides a pod's fate", func(t *testing.T) {
		deploy(t, kube, "named", 1, pod("named", container("localhost/demo:crash")))
		awaitPods(t, kube, "named", waits("CrashLoopBackOff"))
	})
	t.Run("a pod that fits no node stays pending, and the scheduler says why", func(t *testing.T) {
		template := pod("giant", container(pinned))
		template.Spec.NodeSelector = map[string]string{"no": "where"}
		deploy(t, kube, "giant", 1, template)
		awaitPods(t, kube, "giant", func(pods []corev1.Pod) bool {
			for _, cond := range pods[0].Status.Conditions {
				if cond.Reason == corev1.PodReasonUnschedulable {
					return true
				}
			}
			return false
		})
	})
	t.Run("a job completes, and one that crashes fails", func(t *testing.T) {
		none := int32(0)
		for name, image := range map[string]string{"good": "localhost/demo:1", "bad": "localhost/demo:crash"} {
			template := pod(name, container(image))
			template.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := kube.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       batchv1.JobSpec{Template: template, BackoffLimit: &none},
			}, metav1.CreateOptions{})
			require.NoError(t, err)
		}
		for name, want := range map[string]batchv1.JobConditionType{"good": batchv1.JobComplete, "bad": batchv1.JobFailed} {
			require.Eventually(t, func() bool {
				job, err := kube.BatchV1().Jobs("default").Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					return false
				}
				for _, cond := range job.Status.Conditions {
					if cond.Type == want && cond.Status == corev1.ConditionTrue {
						return true
					}
				}
				return false
			}, grace, 50*time.Millisecond, "job %s", name)
		}
	})
	t.Run("logs are answered", func(t *testing.T) {
		crashed := awaitPods(t, kube, "crash-on-boot", waits("CrashLoopBackOff"))[0].Name
		log, err := kube.CoreV1().Pods("default").GetLogs(crashed, &corev1.PodLogOptions{Previous: true}).DoRaw(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(log), "crash-on-boot")
	})
	t.Run("the API server's proxy reaches a pod", func(t *testing.T) {
		ready := awaitPods(t, kube, "demo", allReady(3))[0]
		answer, err := kube.CoreV1().Pods("default").ProxyGet("http", ready.Name, "3111", "/health", nil).DoRaw(t.Context())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%s:3111 /health", ready.Status.PodIP), string(answer))
	})
	t.Run("the audit log names who asked", func(t *testing.T) {
		text, err := os.ReadFile(c.AuditLog)
		require.NoError(t, err)
		require.Contains(t, string(text), `"userAgent":"cluster.test/`)
	})
	t.Run("a restarted API server knows its objects, and old clients go on", func(t *testing.T) {
		before := awaitPods(t, kube, "demo", allReady(3))
		require.NoError(t, c.RestartAPIServer(t.Context()))
		after := awaitPods(t, kube, "demo", allReady(3))
		require.ElementsMatch(t, uids(before), uids(after))
		deploy(t, kube, "later", 1, pod("later", container(pinned)))
		awaitPods(t, kube, "later", allReady(1))
	})
}

func uids(pods []corev1.Pod) []string {
	var ids []string
	for _, p := range pods {
		ids = append(ids, string(p.UID))
	}
	return ids
}

func TestRegistry(t *testing.T) {
	who := cluster.Login{User: "shipit", Password: "sesame"}
	addr, shut, err := cluster.RegistryWithLogin(t.Context(), t.TempDir(), who)
	require.NoError(t, err)
	defer shut()
	for _, c := range []struct {
		sentence, password string
		status             int
	}{
		{"the right password lets in", "sesame", http.StatusOK},
		{"a wrong one does not", "wrong", http.StatusUnauthorized},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "http://"+addr+"/v2/", nil)
			req.RequestURI = ""
			req.SetBasicAuth(who.User, c.password)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, c.status, res.StatusCode)
		})
	}
}
