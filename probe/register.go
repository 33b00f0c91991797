package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Register makes a worker register its functions and confirms that it did: by the
// answer to the registration request and, if register.ask is set, by the answer of
// the server. It returns the confirmation in one line. It is a *release.Failure if
// the registration does not succeed in time, or if a URL is registered at which the
// server does not reach the worker.
//
// A worker that has no address of its own takes for it the Host of the request. So the
// request carries the address at which the server reaches the worker: neither that of
// this machine nor that of a proxy on the way.
func Register(ctx context.Context, role config.Role, ask Asker) (string, error) {
	r := role.Register
	switch {
	case r == nil:
		return "", nil
	case r.Path == "" && r.Ask == nil:
		return "", &release.Failure{
			Role: role.Name, Code: release.CodeRegistrationFailed, Object: "registration", Message: "register has " + askedNothing, Hint: askHint,
		}
	}
	l, err := newLanguage()
	if err != nil {
		return "", err
	}
	w := window{
		within: r.Within.Or(30 * time.Second), every: 500 * time.Millisecond, code: release.CodeRegistrationFailed,
		hint: "the worker answers, but the server it registers with did not accept it: check its address and keys", ask: ask,
	}
	var (
		put   answer
		proof []string
	)
	if r.Path != "" {
		if put, err = l.put(ctx, role, ask, w); err != nil {
			return "", err
		}
		proof = append(proof, fmt.Sprintf("%d %s", put.Status, shorten(ask.hiding(ctx, role)(string(put.Body)))))
	}
	if r.Ask == nil {
		urls, err := l.registered(*r, put)
		if err != nil {
			return "", err
		}
		if len(urls) == 0 && r.Host == "" {
			return proof[0], nil
		}
		if fault := onHost(role, ask, urls); fault != nil {
			return "", fault
		}
		return proof[0] + ", at " + strings.Join(urls, ", "), nil
	}
	confirmed, err := l.confirmed(ctx, role, ask, w)
	if err != nil {
		return "", err
	}
	return strings.Join(append(proof, confirmed), ", "), nil
}

// confirmed waits until the server's answer is as register.ask expects, and says in a few
// words what it has.
func (l language) confirmed(ctx context.Context, role config.Role, ask Asker, w window) (string, error) {
	w.hint = "the server's answer is not what register.ask expects: compare it with what the worker answers"
	var seen Registration
	err := w.until(ctx, role, "registration at the server", func(ctx context.Context) (_ []string, err error) {
		var got answer
		seen, got, err = l.registration(ctx, role, ask)
		return got.excerpt(), err
	})
	switch {
	case err != nil:
		return "", err
	case seen.Fault != nil:
		return "", seen.Fault
	case seen.At != "":
		return "at " + seen.At, nil
	}
	return "as the server answers", nil
}

// What is said of a registration that asks nobody.
const (
	askedNothing = "neither path nor ask, so nothing is asked"
	askHint      = "set path to what the worker registers by, or ask to a request to the server"
)

// put asks the worker to register until it says that it did.
func (l language) put(ctx context.Context, role config.Role, ask Asker, w window) (answer, error) {
	put, err := l.questionOf(config.Request{URL: role.Register.Path, Method: http.MethodPut, Expect: role.Register.Expect}, "", "status == 200")
	if err != nil {
		return answer{}, err
	}
	put.port, put.ask, put.self = role.Port, ask, role
	expected := addresses(role, ask)
	if len(expected) == 0 {
		return answer{}, unknownAddress(role)
	}
	put.host = withPort(expected[0], role.Port)
	var got answer
	err = w.until(ctx, role, "registration", func(ctx context.Context) ([]string, error) {
		got, err = put.try(ctx)
		return got.excerpt(), named(put, err)
	})
	return got, err
}

// Registration is what the server has of a worker.
type Registration struct {
	At     string           // the registered URLs; "" if the answer names none
	Wanted string           // where they must be: host[:port]; "" if the answer is not as expected
	Fault  *release.Failure // how they are not those of the worker; nil: they are
}

// Registered asks the server what it has of a role; nothing is changed. An answer that
// is not as register.ask expects is a fault; the error says that the server could not
// be asked: it did not answer, denied the answer, or has a fault itself. The zero Registration is that of a role without register.ask.
func Registered(ctx context.Context, role config.Role, ask Asker) (Registration, error) {
	if role.Register == nil || role.Register.Ask == nil {
		return Registration{}, nil
	}
	l, err := newLanguage()
	if err != nil {
		return Registration{}, err
	}
	seen, got, err := l.registration(ctx, role, ask)
	if err == nil {
		return seen, nil
	}
	text := clip(ask.hiding(ctx, role)(causeOf(err)), messageBytes)
	if unasked(got.Status) {
		return Registration{}, errors.New(text)
	}
	return Registration{Fault: &release.Failure{Role: role.Name, Code: release.CodeRegistrationFailed, Object: "registration", Message: text}}, nil
}

// unasked reports whether a status says nothing of what the server has: there was no answer
// (0), or none to the question.
func unasked(status int) bool {
	switch status {
	case 0, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// registration asks the server once.
func (l language) registration(ctx context.Context, role config.Role, ask Asker) (Registration, answer, error) {
	r := *role.Register
	server, err := l.questionOf(*r.Ask, "", accepted)
	if err != nil {
		return Registration{}, answer{}, err
	}
	server.port, server.ask, server.self = role.Port, ask, role
	got, err := server.try(ctx)
	if err != nil {
		return Registration{}, got, named(server, err)
	}
	urls, err := l.registered(r, got)
	if err != nil {
		return Registration{}, got, err
	}
	seen := Registration{At: strings.Join(urls, ", ")}
	if r.Path != "" || r.Host != "" {
		seen.Fault = onHost(role, ask, urls)
		if want := addresses(role, ask); len(want) > 0 {
			seen.Wanted = want[0]
		}
	}
	return seen, got, nil
}

func named(q question, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", q, err)
}

// registered finds the registered URLs: the value of register.url, or else every URL
// in the answer with the path of the registration.
func (l language) registered(r config.Register, a answer) ([]string, error) {
	if r.URL != "" {
		e, err := l.compile(r.URL)
		if err != nil {
			return nil, err
		}
		value, err := e.value(a)
		if err != nil {
			return nil, nil // no URL is registered; onHost reports that
		}
		text, _ := value.Value().(string)
		return []string{text}, nil
	}
	if r.Path == "" {
		return nil, nil
	}
	var found []string
	collectURLs(parseJSON(a.Body), r.Path, &found)
	slices.Sort(found)
	return slices.Compact(found), nil
}

func collectURLs(v any, path string, found *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			collectURLs(item, path, found)
		}
	case []any:
		for _, item := range v {
			collectURLs(item, path, found)
		}
	case string:
		if u, err := url.Parse(v); err == nil && u.Host != "" && strings.TrimSuffix(u.Path, "/") == strings.TrimSuffix(path, "/") {
			*found = append(*found, u.Scheme+"://"+u.Host+u.Path)
		}
	}
}

// onHost checks that every registered URL is on an address of the role.
func onHost(role config.Role, ask Asker, registered []string) *release.Failure {
	want := addresses(role, ask)
	f := &release.Failure{Role: role.Name, Code: release.CodeRegistrationFailed, Object: "registration"}
	switch {
	case len(want) == 0:
		return unknownAddress(role)
	case len(registered) == 0:
		f.Message = fmt.Sprintf("no answer says which URL is registered, so %s cannot be confirmed", want[0])
		f.Hint = "set register.ask to a request that the server answers with it, and register.url to find it there"
		return f
	}
	for _, address := range registered {
		u, err := url.Parse(address)
		if err == nil && slices.ContainsFunc(want, func(host string) bool {
			return strings.EqualFold(u.Host, host) || strings.EqualFold(u.Hostname(), host)
		}) {
			continue
		}
		f.Message = fmt.Sprintf("%s is registered, not a URL on %s", address, want[0])
		f.Hint = "set the host that the worker announces (INNGEST_SERVE_HOST) in the role's env; if the URL is another role's, select this role's with register.url"
		if err == nil && loopback(u.Host) {
			f.Hint = "on a loopback address the server finds itself and not the worker: " + f.Hint
		}
		return f
	}
	return nil
}

func unknownAddress(role config.Role) *release.Failure {
	return &release.Failure{
		Role: role.Name, Code: release.CodeRegistrationFailed, Object: "registration",
		Message: "no address is known at which the server reaches the worker, so none can be registered",
		Hint:    "set register.host to the host[:port] that the server calls",
	}
}
