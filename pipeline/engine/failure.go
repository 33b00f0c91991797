package engine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"dagger.io/dagger/engineconn"

	"github.com/joelhooks/shipit/internal/pattern"
)

// BrokenError is a query that an engine did not answer because it, or the session
// with it, ended.
type BrokenError struct {
	By    string // what led to the engine
	Cause string // in one line
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the Dagger engine of %s ended while it built: %s", e.By, e.Cause)
}

// Hint is what to do about it.
func (e *BrokenError) Hint() string {
	return "see what its log says last (" + logOf(os.Getenv(runnerHost)) + "; often memory or disk has run out), start it again, and repeat the command"
}

// logOf is where the log of an engine is.
func logOf(host string) string {
	scheme, rest, _ := strings.Cut(host, "://")
	name, query, _ := strings.Cut(rest, "?")
	switch scheme {
	case "docker-container", "container":
		return "docker logs " + name
	case "podman-container":
		return "podman logs " + name
	case "kube-pod":
		return strings.TrimSpace("kubectl logs --previous " + name + namespaceFlag(query))
	case "":
		return "docker logs of the container dagger-engine-*"
	}
	return "where " + host + " runs"
}

func namespaceFlag(query string) string {
	for _, part := range strings.Split(query, "&") {
		if ns, ok := strings.CutPrefix(part, "namespace="); ok {
			return " --namespace " + ns
		}
	}
	return ""
}

// broken is how a query fails when nobody is left to answer it: the session's own
// answer when it has lost the engine, or no answer of the session.
var broken = pattern.Lazy(`returned error 50[0-9]|unexpected EOF|: EOF$|connection refused|connection reset|broken pipe|error reading from server|transport is closing|session.*(closed|not found)`)

// Explain turns the error of a query into one that says what ended, if the engine or
// the session did; other errors it leaves. Nothing is waited for then when the
// connection is closed.
func (e *Engine) Explain(err error) error {
	text := Undecorated(err.Error())
	if !broken().MatchString(text) || e.alive() {
		return err
	}
	if e.kill != nil {
		e.kill()
	}
	return &BrokenError{By: e.By, Cause: cause(text)}
}

// aliveLimit is how long an engine may take to say that it is there: what has ended is to
// be named within three seconds.
const aliveLimit = 2 * time.Second

// alive reports whether the engine answers: what it asked for may have been refused by
// another, such as a registry.
func (e *Engine) alive() bool {
	if e.Client == nil {
		return false
	}
	limited, cancel := context.WithTimeout(context.Background(), aliveLimit)
	defer cancel()
	_, err := e.Client.Version(limited)
	return err == nil
}

// cause is the innermost message of a query that was answered with an error, or of one
// that was not.
func cause(text string) string {
	if m := regexp.MustCompile(`"message":"((?:[^"\\]|\\.)*)"`).FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(m[1], `\"`, `"`)
	}
	if at := strings.LastIndex(text, ": "); at >= 0 {
		text = text[at+2:]
	}
	return strings.TrimSpace(text)
}

// misfit is how a session says that its version and the engine's do not fit.
var misfit = pattern.Lazy(`incompatible (engine|client) version (v?[^\s;,)]+)`)

// versions says which versions do not fit, if that is what a session says. cli is what the
// dagger program says that it is.
func versions(of said, cli string) *Error {
	m := misfit().FindStringSubmatch(of.last)
	if m == nil {
		return nil
	}
	engine, program := of.engine, cmp.Or(of.client, cli)
	if m[1] == "engine" {
		engine = m[2]
	} else {
		program = m[2]
	}
	reason := fmt.Sprintf("the engine is %s and the dagger program is %s: they do not fit", cmp.Or(engine, "of another version"), cmp.Or(program, "of another version"))
	return &Error{
		Reason: reason,
		Remedy: fmt.Sprintf("install engine and program in one version, best v%s, for which shipit was made", engineconn.CLIVersion),
	}
}
