package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// podList is a list of pods as an API server sends it.
func podList(t *testing.T, n int) (list corev1.PodList, inProtobuf, inJSON []byte) {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(scheme))
	for i := range n {
		list.Items = append(list.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", i), Namespace: "any", Labels: map[string]string{"app": "web"}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "web", RestartCount: int32(i), ImageID: "sha256:1"}}},
		})
	}
	list.ResourceVersion = "7"
	var raw, text bytes.Buffer
	codecs := serializer.NewCodecFactory(scheme)
	require.NoError(t, codecs.EncoderForVersion(protobuf.NewSerializer(scheme, scheme), corev1.SchemeGroupVersion).Encode(&list, &raw))
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	require.True(t, ok)
	require.NoError(t, codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion).Encode(&list, &text))
	return list, raw.Bytes(), text.Bytes()
}

// answering is a client of a server that gives one answer.
func answering(t *testing.T, contentType string, body []byte) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	c, err := connect(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	return c
}

func TestPodsAreReadAsTheyWereSent(t *testing.T) {
	list, inProtobuf, inJSON := podList(t, 30)
	for contentType, body := range map[string][]byte{runtime.ContentTypeProtobuf: inProtobuf, runtime.ContentTypeJSON: inJSON} {
		pods, err := answering(t, contentType, body).ListPods(t.Context(), "any", labels.Set{"app": "web"}, func(p *corev1.Pod) { p.Labels = nil })
		require.NoError(t, err, contentType)
		require.Len(t, pods, len(list.Items))
		for i, p := range pods {
			want := list.Items[i]
			want.Labels = nil
			require.Equal(t, want, *p, contentType)
		}
	}
}

func TestAnEmptyListHasNothing(t *testing.T) {
	_, inProtobuf, inJSON := podList(t, 0)
	for contentType, body := range map[string][]byte{runtime.ContentTypeProtobuf: inProtobuf, runtime.ContentTypeJSON: inJSON} {
		pods, err := answering(t, contentType, body).ListPods(t.Context(), "any", nil, nil)
		require.NoError(t, err)
		require.Empty(t, pods)
	}
}

// A list that ends early must not look like a shorter one.
func TestAListThatIsCutOffIsAnError(t *testing.T) {
	_, inProtobuf, inJSON := podList(t, 3)
	nothing := func([]byte) error { return nil }
	for n := range inProtobuf {
		seen := 0
		err := eachInProtobuf(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(inProtobuf[:n]))), "PodList", func([]byte) error { seen++; return nil })
		if err == nil {
			require.Equal(t, 3, seen, n) // what follows the list says how it is encoded
			continue
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, n)
	}
	for n := range len(bytes.TrimSpace(inJSON)) {
		_, err := eachInJSON(bytes.NewReader(inJSON[:n]), nothing)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, n)
	}
}

func TestWhatIsNoListIsAnError(t *testing.T) {
	nothing := func([]byte) error { return nil }
	for _, body := range []string{`{}`, `[]`, `null`, `"list"`, `{"kind":"Status","apiVersion":"v1"}`, `{"kind":"PodList","items":{}}`, `{"kind":"PodList","items":[]}{}`, `{"items":[]}`, `<html>`} {
		_, err := eachInJSON(bytes.NewReader([]byte(body)), nothing)
		require.Error(t, err, body)
	}
	_, pods, _ := podList(t, 1)
	require.ErrorContains(t, eachInProtobuf(bufio.NewReader(bytes.NewReader(pods)), "NodeList", nothing), "NodeList")
	for _, body := range []string{"k8s\x00\x08\x01", "k8s\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f"} {
		require.Error(t, eachInProtobuf(bufio.NewReader(bytes.NewReader([]byte(body))), "PodList", nothing))
	}
}

// The items of a list of a built-in kind do not say what they are; those of others do,
// and their list may say what it is only after them.
func TestEveryObjectOfAListHasItsKind(t *testing.T) {
	for body, kind := range map[string]string{
		`{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a","generation":7}}]}`:                         "Deployment",
		`{"apiVersion":"apps/v1","items":[{"apiVersion":"apps/v1","kind":"Other","metadata":{"name":"a","generation":7}}],"kind":"Others","metadata":{"remaining":[1]}}`: "Other",
	} {
		found, err := answering(t, runtime.ContentTypeJSON, []byte(body)).List(t.Context(), object.Kind{}, "any", "")
		require.NoError(t, err)
		require.Equal(t, []unstructured.Unstructured{{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": kind, "metadata": map[string]any{"name": "a", "generation": int64(7)},
		}}}, found)
	}
}
