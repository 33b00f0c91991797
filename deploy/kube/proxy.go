package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

// maxAnswer bounds what is read of a pod's answer.
const maxAnswer = 4 << 20

// Request is one HTTP request to a pod of a role.
type Request struct {
	Method  string // default GET
	Port    int
	Path    string // with its query
	Headers map[string]string
	Body    string
}

// Response is what the pod answered.
type Response struct {
	Pod    string
	Status int
	Header http.Header
	Body   []byte // 4 MiB at most
}

// NoPodError says that a role has no pod that could answer.
type NoPodError struct{ Role string }

func (e *NoPodError) Error() string { return "role " + e.Role + " has no ready pod" }

// Get sends a request to one ready pod of the role, through the API server's pod
// proxy: the newest, so that it is of the new revision. An answer of any status
// is no error; a pod that does not answer is.
func (c *Cluster) Get(ctx context.Context, role release.Role, r Request) (Response, error) {
	pod, err := c.newest(ctx, role)
	if err != nil {
		return Response{}, err
	}
	answer, err := c.ask(ctx, pod, r)
	if err != nil {
		return Response{}, fmt.Errorf("ask pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return answer, nil
}

// newest is the youngest ready pod that runs the role's image.
func (c *Cluster) newest(ctx context.Context, role release.Role) (*corev1.Pod, error) {
	objects, live, pods, err := c.running(ctx, role)
	if err != nil {
		return nil, err
	}
	var ready []*corev1.Pod
	for _, u := range live {
		for _, o := range objects {
			names := containersOf(o, role.Repository)
			if o.id != idOf(u) || len(names) == 0 {
				continue
			}
			mine := selectorFor(u)
			for _, p := range pods {
				if mine(p) && p.DeletionTimestamp == nil && podReady(p) {
					ready = append(ready, p)
				}
			}
		}
	}
	if len(ready) == 0 {
		return nil, &NoPodError{Role: role.Name}
	}
	sort.Slice(ready, func(i, j int) bool { return ready[j].CreationTimestamp.Before(&ready[i].CreationTimestamp) })
	return ready[0], nil
}

func (c *Cluster) ask(ctx context.Context, p *corev1.Pod, r Request) (Response, error) {
	path, query, _ := strings.Cut(r.Path, "?")
	target := c.raw().Get().AbsPath(podsKind.path(p.Namespace, p.Name) + ":" + strconv.Itoa(r.Port) + "/proxy").URL()
	target.Path += "/" + strings.TrimPrefix(path, "/")
	target.RawQuery = query
	method := firstOf(r.Method, http.MethodGet)
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader([]byte(r.Body)))
	if err != nil {
		return Response{}, err
	}
	for name, v := range r.Headers {
		req.Header.Set(name, v)
	}
	// Where the pod points to, the caller's credentials must not go.
	straight := *c.http
	straight.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	reply, err := straight.Do(req)
	if err != nil {
		return Response{}, c.explain(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return Response{}, fmt.Errorf("read the answer: %w", err)
	}
	if err := proxyFault(reply, body); err != nil {
		return Response{}, c.explain(err)
	}
	return Response{Pod: p.Name, Status: reply.StatusCode, Header: reply.Header, Body: body}, nil
}

// proxyFault tells the API server's own answer from the pod's: the caller may not
// use the proxy, or the pod could not be reached.
func proxyFault(reply *http.Response, body []byte) error {
	if reply.StatusCode < 400 || !strings.HasPrefix(reply.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	var s metav1.Status
	if json.Unmarshal(body, &s) != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: s}
}
