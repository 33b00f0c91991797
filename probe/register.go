package probe

import (
	"context"
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
// the registration does not succeed in time or if a URL on another host than
// register.host is registered.
func Register(ctx context.Context, role config.Role, ask Asker) (string, error) {
	r := role.Register
	if r == nil {
		return "", nil
	}
	l, err := newLanguage()
	if err != nil {
		return "", err
	}
	put, err := l.questionOf(config.Request{URL: r.Path, Method: http.MethodPut, Expect: r.Expect}, "", "status == 200")
	if err != nil {
		return "", err
	}
	put.port, put.ask = role.Port, ask
	w := window{
		within: r.Within.Or(30 * time.Second), every: 500 * time.Millisecond, code: release.CodeRegistrationFailed,
		hint: "the worker answers, but the server it registers with did not accept it: check its address and keys", ask: ask,
	}
	var answer, confirmed answer
	err = w.until(ctx, role, "registration", func(ctx context.Context) ([]string, error) {
		answer, err = put.try(ctx)
		return answer.excerpt(), named(put, err)
	})
	if err != nil {
		return "", err
	}
	proof := fmt.Sprintf("%d %s", answer.Status, shorten(ask.hiding(ctx, role)(string(answer.Body))))
	if r.Ask != nil {
		server, err := l.questionOf(*r.Ask, "", accepted)
		if err != nil {
			return "", err
		}
		server.port, server.ask = role.Port, ask
		err = w.until(ctx, role, "registration at the server", func(ctx context.Context) ([]string, error) {
			confirmed, err = server.try(ctx)
			return confirmed.excerpt(), named(server, err)
		})
		if err != nil {
			return "", err
		}
	}
	registered, err := l.registered(*r, answer, confirmed)
	if err != nil {
		return "", err
	}
	if r.Host == "" {
		return proof, nil
	}
	if err := onHost(role, registered); err != nil {
		return "", err
	}
	return proof + ", at " + strings.Join(registered, ", "), nil
}

func named(q question, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", q, err)
}

// registered finds the registered URLs: the value of register.url for the last
// answer, or else every URL in the answers with the path of the registration.
func (l language) registered(r config.Register, answers ...answer) ([]string, error) {
	if r.URL != "" {
		e, err := l.compile(r.URL)
		if err != nil {
			return nil, err
		}
		last := answers[0]
		if r.Ask != nil {
			last = answers[len(answers)-1]
		}
		value, err := e.value(last)
		if err != nil {
			return nil, nil // no URL is registered; onHost reports that
		}
		text, _ := value.Value().(string)
		return []string{text}, nil
	}
	var found []string
	for _, a := range answers {
		collectURLs(parseJSON(a.Body), r.Path, &found)
	}
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

// onHost checks that every registered URL is on the expected host.
func onHost(role config.Role, registered []string) error {
	want := role.Register.Host
	f := &release.Failure{Role: role.Name, Code: release.CodeRegistrationFailed, Object: "registration"}
	if len(registered) == 0 {
		f.Message = fmt.Sprintf("no answer says which URL is registered, so %s cannot be confirmed", want)
		f.Hint = "set register.ask to a request that the server answers with it, and register.url to find it there"
		return f
	}
	for _, address := range registered {
		u, err := url.Parse(address)
		if err == nil && (strings.EqualFold(u.Host, want) || strings.EqualFold(u.Hostname(), want)) {
			continue
		}
		f.Message = fmt.Sprintf("%s is registered, not a URL on %s", address, want)
		f.Hint = "set the host that the worker announces (INNGEST_SERVE_HOST) in the role's env; if the URL is another role's, select this role's with register.url"
		return f
	}
	return nil
}
