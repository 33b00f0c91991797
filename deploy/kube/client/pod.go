package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxAnswer bounds what is read of a pod's answer.
const maxAnswer = 4 << 20

// PodLog reads the log of one container of a pod.
func (c *Client) PodLog(ctx context.Context, namespace, name string, o *corev1.PodLogOptions) ([]byte, error) {
	body, err := c.rest().Get().AbsPath(Pods.Path(namespace, name)+"/log").VersionedParams(o, c.typed.params).DoRaw(ctx)
	return body, c.explain(err)
}

// AskPod sends a request to a pod through the API server's pod proxy; its URL holds
// the pod's port, path and query. An answer of any status is no error. Of its body
// 4 MiB are read at most. A Host of the request that is not that of its URL reaches the
// pod; otherwise the pod is given the API server's.
func (c *Client) AskPod(ctx context.Context, namespace, name string, req *http.Request) (*http.Response, error) {
	target := c.rest().Get().AbsPath(Pods.Path(namespace, name) + ":" + portOf(req) + "/proxy").URL()
	target.Path += "/" + strings.TrimPrefix(req.URL.Path, "/")
	target.RawQuery = req.URL.RawQuery
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	out, err := http.NewRequestWithContext(ctx, req.Method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if req.Host != "" && req.Host != req.URL.Host {
		out.Host = req.Host
	}
	for header := range req.Header {
		out.Header.Set(header, req.Header.Get(header))
	}
	// A redirect of the pod must not take the caller's credentials elsewhere.
	direct := *c.http
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	reply, err := direct.Do(out)
	if err != nil {
		return nil, c.explain(err)
	}
	defer reply.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if err := proxyError(reply, answer); err != nil {
		return nil, c.explain(err)
	}
	return &http.Response{StatusCode: reply.StatusCode, Header: reply.Header, Body: io.NopCloser(bytes.NewReader(answer)), Request: req}, nil
}

// portOf is the port of a request's URL; 0 if it names none.
func portOf(req *http.Request) string {
	port, _ := strconv.Atoi(req.URL.Port())
	return strconv.Itoa(port)
}

// proxyError is the API server's own answer, which is not the pod's: the caller may
// not use the proxy, or the pod could not be reached. nil if the pod answered.
func proxyError(reply *http.Response, body []byte) error {
	if reply.StatusCode < 400 || !strings.HasPrefix(reply.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	var s metav1.Status
	if json.Unmarshal(body, &s) != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: s}
}
