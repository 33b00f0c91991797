package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
)

// What a probe hears may hold secrets, and a failure is printed and recorded.
func TestNoSecretEntersAFailure(t *testing.T) {
	const planted, named = "planted-7f3a91c2", "hunter2-of-the-database"
	long := strings.Repeat("x", 150) // so that a line is cut within the secret
	t.Setenv("CI_TOKEN", planted)
	t.Setenv("PLAIN", "reached-through-env-reference")
	body := fmt.Sprintf(`{"echo":"%s","password":"%s"}`+"\n%s%s\nreached-through-env-reference\n", planted, named, long, planted)
	role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprintf(w, `{"modified":true,"url":"http://%s","secret":"%s"}`, planted, named)
			return
		}
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, body)
	})
	clean := func(t *testing.T, text string) {
		t.Helper()
		require.NotContains(t, text, planted[:10])
		require.NotContains(t, text, named[:10])
	}
	t.Run("from the body of an answer", func(t *testing.T) {
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Path: "/"}), ask))
		require.NotEmpty(t, f.Log)
		clean(t, f.Error()+strings.Join(f.Log, "\n"))
	})
	t.Run("from the value that an expression is false for", func(t *testing.T) {
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Path: "/", Expect: []string{`text == "other"`}}), ask))
		require.Contains(t, f.Message, "text is")
		clean(t, f.Error()+strings.Join(f.Log, "\n"))
	})
	t.Run("from the output of a command", func(t *testing.T) {
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Command: []string{"sh", "-c", "echo " + long + "$CI_TOKEN; echo password=" + named + "; exit 3"}}), ask))
		require.NotEmpty(t, f.Log)
		clean(t, f.Error()+strings.Join(f.Log, "\n"))
	})
	t.Run("from what a request was filled in with, whatever its name", func(t *testing.T) {
		event := config.Event{Send: config.Request{URL: "/", Headers: map[string]string{"X-Any": "${env:PLAIN}"}}}
		role, p := role, quick(config.Probe{Event: &event})
		role.Probe = &p
		f := failure(t, probe.Run(t.Context(), role, p, ask))
		require.NotContains(t, f.Error()+strings.Join(f.Log, "\n"), "reached-through-env-reference")
	})
	t.Run("from the proof of a registration", func(t *testing.T) {
		role.Register = &config.Register{Path: "/api"}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Contains(t, proof, "200")
		clean(t, proof)
	})
	t.Run("of the role's own secrets, not even a part where a line is cut", func(t *testing.T) {
		const own = "owned-by-the-role-5d1f"
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				fmt.Fprintf(w, `{"modified":true,"told":"%s%s"}`, long[:110], own)
				return
			}
			fmt.Fprintf(w, `{"functions":"%s"}`+"\n%s%s", own, long, own)
		})
		ask.Mask = func(context.Context) func(string) string {
			return func(text string) string { return strings.ReplaceAll(text, own, "[redacted]") }
		}
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Path: "/", Expect: []string{`text == "other"`}}), ask))
		require.NotContains(t, f.Error()+strings.Join(f.Log, "\n"), own[:5])
		role.Register = &config.Register{Path: "/"}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Contains(t, proof, "told")
		require.NotContains(t, proof, own[:5])
		_, _, err = probe.FunctionsIn("cluster", config.Functions{}, probe.Answer{Status: 200, Body: fmt.Appendf(nil, `{"functions":%q}`, own)})
		require.ErrorContains(t, err, "not a list of ids")
		require.NotContains(t, err.Error(), own[:5])
	})
}
