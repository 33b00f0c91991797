package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/common/types"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Asker is the way to a role.
type Asker struct {
	// Do sends one request to the role, for example through a port forward. The URL has
	// the role's port, path and query; its host is 127.0.0.1. A request whose Host is
	// another one reaches the role with that Host.
	Do func(ctx context.Context, req *http.Request) (*http.Response, error)
	// Addresses are the host[:port] at which others can reach the role, the likeliest
	// first. A registration names one of them. nil: none is known.
	Addresses []string
	// Mask returns what hides the role's own secrets in a text. It is asked only when
	// something that the role said is going to be shown. nil hides none.
	Mask func(ctx context.Context) func(text string) string
}

// hiding returns what hides the secrets of the role and of this process in a text.
// Hide before a text is cut, since a part of a value is not found.
func (a Asker) hiding(ctx context.Context, role config.Role) func(text string) string {
	mask := func(text string) string { return text }
	if a.Mask != nil {
		mask = a.Mask(context.WithoutCancel(ctx))
	}
	ours := secretsOf(role)
	return func(text string) string { return release.Redact(mask(text), ours) }
}

// answer is the response to one request.
type answer struct {
	Status int
	Header http.Header
	Body   []byte // its first megabyte
	role   func() any
}

// variables are those of an expression over the answer. The role is asked for its own
// only if an expression wants it.
func (a answer) variables() map[string]any {
	headers := map[string]string{}
	for name, values := range a.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	own := a.role
	if own == nil {
		own = func() any { return nil }
	}
	return map[string]any{"status": a.Status, "headers": headers, "text": string(a.Body), "json": parseJSON(a.Body), "role": own}
}

// excerpt is the first lines of the answer; window.until redacts and shortens them.
func (a answer) excerpt() []string {
	if a.Status == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("HTTP %d", a.Status)}
	for i, line := range strings.Split(strings.TrimSpace(string(a.Body)), "\n") {
		if i == 10 {
			return append(lines, "…")
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// question is a request and the conditions for its answer.
type question struct {
	method, url string // a url that begins with / is a path of the role
	headers     map[string]string
	body        string
	port        int         // of the role
	host        string      // the Host that the request carries; "": that of its address
	self        config.Role // whose own answer expressions may use
	expect      []expression
	ask         Asker
}

// String names the request, with variables not filled in.
func (q question) String() string { return q.method + " " + q.url }

// try sends the request once. The error says which condition the answer does not meet.
func (q question) try(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := q.send(ctx)
	if err != nil {
		return answer, err
	}
	for _, e := range q.expect {
		if err := e.holds(answer); err != nil {
			return answer, err
		}
	}
	return answer, nil
}

func (q question) send(ctx context.Context) (answer, error) {
	address, send := q.url, q.ask.Do
	if strings.HasPrefix(address, "/") {
		address = fmt.Sprintf("http://127.0.0.1:%d%s", q.port, address)
	} else {
		send = fromHere
	}
	address, err := withSecrets(address)
	if err != nil {
		return answer{}, err
	}
	body, err := withSecrets(q.body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%s is not a valid request", q)
	}
	for name, value := range q.headers {
		if value, err = withSecrets(value); err != nil {
			return answer{}, err
		}
		req.Header.Set(name, value)
	}
	if q.host != "" {
		req.Host = q.host
	}
	res, err := send(ctx, req)
	if err != nil {
		return answer{}, withoutAddress(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer{Status: res.StatusCode, Header: res.Header, Body: data, role: ownAnswer(context.WithoutCancel(ctx), q.self, q.ask)}, nil
}

// fromHere sends a request from this machine.
func fromHere(_ context.Context, req *http.Request) (*http.Response, error) {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client.Do(req)
}

// withoutAddress removes the URL from an error of net/http: it may contain a secret,
// and callers name the request anyway.
func withoutAddress(err error) error {
	var wrapped interface {
		error
		Unwrap() error
		Timeout() bool
	}
	if errors.As(err, &wrapped) && strings.Contains(wrapped.Error(), "://") {
		return wrapped.Unwrap()
	}
	return err
}

func secretRule() *regexp.Regexp { return regexp.MustCompile(`\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}`) }

// withSecrets fills in ${env:NAME} from the environment of shipit, so that no token
// is in the repository.
func withSecrets(s string) (string, error) {
	var missing string
	filled := secretRule().ReplaceAllStringFunc(s, func(ref string) string {
		name := secretRule().FindStringSubmatch(ref)[1]
		value, set := os.LookupEnv(name)
		if !set {
			missing = name
		}
		return value
	})
	if missing != "" {
		return "", fmt.Errorf("the environment variable %s is not set", missing)
	}
	return filled, nil
}

// questionOf makes a question of a configured request, with ${ID} filled in.
func (l language) questionOf(r config.Request, id string, defaultExpect ...string) (question, error) {
	fill := func(s string) string { return strings.ReplaceAll(s, "${ID}", id) }
	q := question{method: r.Method, url: fill(r.URL), body: fill(r.Body), headers: map[string]string{}}
	if q.method == "" {
		q.method = http.MethodGet
		if r.Body != "" {
			q.method = http.MethodPost
		}
	}
	for name, value := range r.Headers {
		q.headers[name] = fill(value)
	}
	expect := r.Expect
	if len(expect) == 0 {
		expect = defaultExpect
	}
	for _, text := range expect {
		e, err := l.condition(fill(text))
		if err != nil {
			return q, err
		}
		q.expect = append(q.expect, e)
	}
	return q, nil
}

// ownAnswer is what a role answers for itself at the path of its first HTTP probe: the
// JSON, asked for once and only when an expression wants it. nil if it has no such
// probe or gives no JSON.
func ownAnswer(ctx context.Context, role config.Role, ask Asker) func() any {
	return sync.OnceValue(func() any {
		q, ok := healthOf(role, ask)
		if !ok {
			return nil
		}
		answer, err := q.try(ctx)
		if err != nil {
			return types.NewErr("what the role answers for itself: %s: %s", q, err)
		}
		return parseJSON(answer.Body)
	})
}

// healthOf is the request of the role's first HTTP probe; false if it has none.
func healthOf(role config.Role, ask Asker) (question, bool) {
	probes := role.AllProbes()
	at := slices.IndexFunc(probes, func(p config.Probe) bool { return p.Path != "" })
	if at < 0 {
		return question{}, false
	}
	return question{method: http.MethodGet, url: probes[at].Path, port: portOf(role, probes[at]), ask: ask}, true
}
