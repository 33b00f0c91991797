package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

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

// Get sends a request to one ready pod of the role, by way of the API
// server: the newest, so that it is of the new revision. An answer of any status
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
	objects, live, err := c.workloads(ctx, role)
	if err != nil {
		return nil, err
	}
	pods, err := c.podsOf(ctx, live)
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
			for _, p := range pods {
				if selects(u, p) && p.DeletionTimestamp == nil && podReady(p) {
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
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port)) + "/" + strings.TrimPrefix(r.Path, "/")
	req, err := http.NewRequestWithContext(ctx, firstOf(r.Method, http.MethodGet), url, strings.NewReader(r.Body))
	if err != nil {
		return Response{}, err
	}
	for name, v := range r.Headers {
		req.Header.Set(name, v)
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, p, r.Port) },
		},
		// A redirect is an answer: what it leads to may be out of the pod.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Do(req)
	if err != nil {
		return Response{}, unwrapURL(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return Response{}, fmt.Errorf("read the answer: %w", err)
	}
	return Response{Pod: p.Name, Status: reply.StatusCode, Header: reply.Header, Body: body}, nil
}

// unwrapURL takes off the address that net/http puts before an error: it is not
// the pod's.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
