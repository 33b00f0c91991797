package object

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fullPod is a pod as an API server sends it.
func fullPod(n int) *corev1.Pod {
	yes, always := true, corev1.ContainerRestartPolicyAlways
	secret := corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "token"}, Key: "key"}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("web-%d", n), Namespace: "bus", UID: types.UID(fmt.Sprint(n)), Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "set", Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			NodeName: "node", RestartPolicy: corev1.RestartPolicyAlways, ServiceAccountName: "default",
			InitContainers: []corev1.Container{{Name: "proxy", RestartPolicy: &always}},
			Containers: []corev1.Container{{
				Name: "web", Image: "web@sha256:1", Command: []string{"serve"}, ReadinessProbe: &corev1.Probe{PeriodSeconds: 1},
				Env:          []corev1.EnvVar{{Name: "PLAIN", Value: "1"}, {Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &secret}}},
				EnvFrom:      []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "all"}}}},
				VolumeMounts: []corev1.VolumeMount{{Name: fmt.Sprintf("kube-api-access-%d", n)}},
			}},
			Volumes: []corev1.Volume{
				{Name: fmt.Sprintf("kube-api-access-%d", n), VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}}},
				{Name: "files", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "files"}}},
			},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "web", ImageID: "sha256:1", RestartCount: int32(n)}},
		},
	}
}

func TestASlimPodHasWhatIsReadOfIt(t *testing.T) {
	var slim SlimPods
	first, second, full := fullPod(1), fullPod(2), fullPod(2)
	slim.Slim(first)
	slim.Slim(second)
	require.Equal(t, SecretsOf(&full.Spec), SecretsOf(&second.Spec))
	require.Equal(t, full.Status, second.Status)
	require.Equal(t, full.OwnerReferences, second.OwnerReferences)
	require.Equal(t, full.Labels, second.Labels)
	require.Equal(t, full.Name, second.Name)
	require.Equal(t, full.UID, second.UID)
	require.Equal(t, full.Spec.InitContainers, second.Spec.InitContainers)
	require.Equal(t, full.Spec.Containers[0].ReadinessProbe, second.Spec.Containers[0].ReadinessProbe)
	require.Equal(t, full.Spec.Containers[0].Image, second.Spec.Containers[0].Image)
	require.Empty(t, second.Spec.Containers[0].Command)
	require.Same(t, &first.Spec.Containers[0], &second.Spec.Containers[0], "what is alike is held once")

	// What differs from the first one's is not taken for alike.
	other := fullPod(3)
	other.Labels["app"], other.Spec.Containers[0].Image = "taken out", "web@sha256:2"
	slim.Slim(other)
	require.Equal(t, "taken out", other.Labels["app"])
	require.Equal(t, "web@sha256:2", other.Spec.Containers[0].Image)
	require.Equal(t, "web", first.Labels["app"])

	// A pod that a hand has changed is shown with what it was changed to.
	changed, want := fullPod(4), fullPod(4)
	changed.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-edit"}}
	want.ManagedFields = changed.ManagedFields
	slim.Slim(changed)
	require.Equal(t, want, changed)
}
