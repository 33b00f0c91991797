package kube

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// injecting registers a webhook that puts a container into every Deployment of a
// namespace, on each write of one.
func injecting(t *testing.T, c *user, ns string) {
	t.Helper()
	const container = `{"name":"sidecar","image":"registry.test/sidecar:1"}`
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var d struct {
			Spec struct {
				Template struct {
					Spec struct{ Containers []struct{ Name string } }
				}
			}
		}
		_ = json.Unmarshal(review.Request.Object.Raw, &d)
		answer := admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		has := false
		for _, c := range d.Spec.Template.Spec.Containers {
			has = has || c.Name == "sidecar"
		}
		if !has {
			kind := admissionv1.PatchTypeJSONPatch
			answer.PatchType, answer.Patch = &kind, []byte(`[{"op":"add","path":"/spec/template/spec/containers/-","value":`+container+`}]`)
		}
		review.Request, review.Response = nil, &answer
		_ = json.NewEncoder(w).Encode(review)
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	hooks := c.kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := hooks.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "inject-" + ns},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "inject.shipit.test", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: ca},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
			}},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hooks.Delete(context.Background(), "inject-"+ns, metav1.DeleteOptions{}) })
}

func TestWhatAWebhookAddsIsLeft(t *testing.T) {
	t.Parallel()
	s := stand(t, deployment("web", 1))
	injecting(t, s.c, s.ns)
	require.Eventually(t, func() bool { // the server learns of a webhook by a watch
		d, err := s.c.kube.AppsV1().Deployments(s.ns).Create(t.Context(), s.fresh("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && len(d.Spec.Template.Spec.Containers) == 2
	}, time.Minute, 20*time.Millisecond, "the webhook is not asked")
	s.release()
	require.Empty(t, s.differs())
	require.Len(t, s.deployment().Spec.Template.Spec.Containers, 2)
	generation := s.deployment().Generation
	s.release()
	require.Equal(t, generation, s.deployment().Generation)
	s.patch("", types.StrategicMergePatchType, "kubectl-edit", `{"spec":{"template":{"spec":{"containers":[{"name":"byhand","image":"registry.test/x:1"}]}}}}`)
	require.Contains(t, s.differs(), "- spec.template.spec.containers[byhand].image: registry.test/x:1")
	s.release()
	require.Empty(t, s.differs())
	s.isAsMadeAnew()
}
