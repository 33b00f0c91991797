package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/joelhooks/shipit/internal/faults"
	"github.com/joelhooks/shipit/release"
)

// faultLimit is how long a command may take whatever its servers do: its own
// limit of 40 seconds, that of one request before and one after, and the time in
// which an outcome is kept.
const faultLimit = 150 * time.Second

// withoutRegistryLimit is how long a rollback may take while the registry is away: the
// nodes hold what it needs, and the copy of its record is for the next run. It waits for
// the registry twice for five seconds; the rest is for a busy machine.
const withoutRegistryLimit = 35 * time.Second

// ailing is an app whose registry and API server are reached by proxies.
type ailing struct {
	*shop
	registry, api *faults.Proxy
}

// proxied is the same ground with a registry and an API server that are reached by proxies.
func (g ground) proxied(t *testing.T) (through ground, registry, api *faults.Proxy) {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", g.kubeconfig)
	require.NoError(t, err)
	cfg.NextProtos = []string{"http/1.1"} // port-forwards are upgrades, which HTTP/2 has not
	transport, err := rest.TransportFor(cfg)
	require.NoError(t, err)
	registry, api = faults.New(t, "http://"+g.registry, nil), faults.New(t, cfg.Host, transport)
	before := strings.TrimPrefix(registry.URL, "http://")
	g.base, g.registry = strings.Replace(g.base, g.registry, before, 1), before
	g.kubeconfig = kubeconfigOf(t, api.URL)
	return g, registry, api
}

// ailing ships v1 and v2 of an app, all being well.
func (g ground) ailing(t *testing.T, name string) ailing {
	t.Helper()
	var a ailing
	g, a.registry, a.api = g.proxied(t)
	a.shop = g.shop(t, name)
	a.sha["v3"] = a.repo.Commit("v3", map[string]string{
		"shipit.yaml":                      strings.Replace(a.repo.Read("shipit.yaml"), "crash-on-boot", `""`, 1),
		"packages/system-bus/src/serve.ts": a.repo.Read("packages/system-bus/src/serve.ts") + "\n// third edition\n",
	})
	a.does(0, "release", a.sha["v1"])
	a.does(0, "release", a.sha["v2"])
	return a
}

// faulty is a row of the table of outcomes.
type faulty struct {
	name  string
	where string // registry, api
	rule  faults.Rule
	// mends reports whether every command gets over it.
	mends bool
	// late begins with the first object that a command applies.
	late bool
	// untouched are commands that need nothing of what is away.
	untouched []string
	always    bool // tried without SHIPIT_SOAK too
}

func faultTable() []faulty {
	var all []faulty
	// What reads and writes records and the cluster needs no registry.
	withoutRegistry := []string{"status", "history", "rollback"}
	for _, f := range []faults.Fault{faults.TooMany, faults.Internal, faults.BadGateway, faults.Cut, faults.Altered, faults.Silence, faults.Trickle, faults.Hangup, faults.Gone, faults.Conflict} {
		all = append(all, faulty{name: "registry-" + string(f), where: "registry", rule: faults.Rule{Fault: f}, untouched: withoutRegistry, always: f == faults.Altered || f == faults.Hangup})
	}
	for _, f := range []faults.Fault{faults.TooMany, faults.Internal, faults.BadGateway, faults.Cut, faults.Hangup} {
		all = append(all, faulty{name: "registry-now-and-then-" + string(f), where: "registry", rule: faults.Rule{Fault: f, Every: 5}, mends: true, always: f == faults.Internal})
	}
	for _, f := range []faults.Fault{faults.TooMany, faults.Internal, faults.BadGateway, faults.Conflict, faults.Gone, faults.Cut, faults.Altered, faults.Silence, faults.Trickle, faults.Hangup} {
		all = append(all, faulty{name: "api-" + string(f), where: "api", rule: faults.Rule{Fault: f}, untouched: []string{"build"}, always: f == faults.Cut})
		all = append(all, faulty{name: "api-late-" + string(f), where: "api", rule: faults.Rule{Fault: f}, late: true, untouched: []string{"build", "status", "history", "plan"}, always: f == faults.Gone})
	}
	for _, f := range []faults.Fault{faults.Silence, faults.Trickle} {
		// The connection stands, and the records can be read no more.
		all = append(all, faulty{name: "api-after-a-while-" + string(f), where: "api", rule: faults.Rule{Fault: f, After: 2}, untouched: []string{"build"}})
	}
	for _, f := range []faults.Fault{faults.TooMany, faults.Internal, faults.BadGateway, faults.Cut, faults.Hangup} {
		all = append(all, faulty{name: "api-now-and-then-" + string(f), where: "api", rule: faults.Rule{Fault: f, Every: 7}, mends: true, always: f == faults.Hangup})
	}
	return all
}

// TestEveryCommandEndsWhateverItsServersDo runs every command while the registry
// or the API server is in trouble, and demands an end within the limit, a cause,
// the right exit code and a true record; afterwards, that the next release needs
// no repair. SHIPIT_SOAK tries the whole table.
func TestEveryCommandEndsWhateverItsServersDo(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	g := simulated(t)
	table := faultTable()
	soak := soaking(t, func() int { return len(table) })
	for _, i := range soak.order(len(table)) {
		f := table[i]
		if !f.always && !soak.whole {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			soak.begin(t)
			g.ailing(t, fmt.Sprintf("fault-%d", i)).endures(f)
		})
	}
}

// faultCommands are the commands of the table, in the order in which they are run.
func faultCommands() [][]string {
	return [][]string{{"status"}, {"history"}, {"plan", "v3"}, {"build", "v3"}, {"rollback"}, {"release", "v3"}}
}

// TestANameThatDoesNotResolve has no registry or no API server of the name that is
// configured. Nothing is changed, and what needs neither works.
func TestANameThatDoesNotResolve(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	g := simulated(t)
	a := g.ailing(t, "nowhere")
	host := strings.TrimPrefix(a.registry.URL, "http://")
	lost := a.repo.Commit("lost", map[string]string{"shipit.yaml": strings.ReplaceAll(a.repo.Read("shipit.yaml"), host+"/", "nowhere.invalid/")})
	for _, words := range [][]string{{"plan", lost}, {"build", lost}, {"release", lost}} {
		require.Contains(t, a.refuses(words...), "nowhere.invalid")
	}
	for _, words := range [][]string{{"status"}, {"history"}, {"rollback"}, {"status"}} {
		a.does(0, words...)
	}
	a.shop.env = append(a.shop.env, "KUBECONFIG="+kubeconfigOf(t, "http://nowhere.invalid:6443"))
	for _, words := range faultCommands() {
		if words[0] != "build" {
			require.Contains(t, a.refuses(a.named(words)...), "nowhere.invalid")
		}
	}
}

// refuses runs a command that ends with exit 3 within the limit, and returns what it said.
func (a ailing) refuses(args ...string) string {
	a.t.Helper()
	code, took, said := a.timed(args...)
	require.Equal(a.t, exitRefused, code, "%s\n%s", args, said)
	require.Less(a.t, took, faultLimit)
	return said
}

// kubeconfigOf is a kubeconfig of the API server at an address.
func kubeconfigOf(t *testing.T, address string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"proxy": {Server: address}},
		Contexts:       map[string]*clientcmdapi.Context{"proxy": {Cluster: "proxy"}},
		CurrentContext: "proxy",
	}, file))
	return file
}

func (a ailing) endures(f faulty) {
	proxy := a.registry
	if f.where == "api" {
		proxy = a.api
	}
	for _, words := range faultCommands() {
		before := a.records()
		rule := f.rule
		if f.late {
			rule.Match = afterTheFirstApply()
		}
		proxy.Have(&rule)
		code, took, said := a.timed(a.named(words)...)
		failed := proxy.Faults()
		proxy.Have(nil)
		a.t.Logf("%s under %s: exit %d after %s, %d requests failed: %s", words[0], f.name, code, took.Round(100*time.Millisecond), failed, lastLine(said))
		limit := faultLimit
		if words[0] == "rollback" && f.where == "registry" && !f.mends {
			limit = withoutRegistryLimit
		}
		require.Less(a.t, took, limit, "%s\n%s", words, said)
		require.NotContains(a.t, said, "panic:")
		a.judged(f, words, ended{code: code, said: said, failed: failed, before: before})
	}
	a.does(0, "release", a.sha["v3"])
	a.does(0, "status")
	a.does(0, "verify")
}

// ended is how a command ended under a fault.
type ended struct {
	code   int
	said   string
	failed int // requests
	before []release.Record
}

// judged holds the end of a command against its records.
func (a ailing) judged(f faulty, words []string, e ended) {
	after := a.records()
	allowed := []int{exitRefused}
	switch {
	case f.mends || e.failed == 0 || slices.Contains(f.untouched, words[0]):
		allowed = []int{exitOK}
	case len(after) > len(e.before) && after[0].Good():
		allowed = []int{exitOK}
	case len(after) > len(e.before) && after[0].Outcome == release.Restored:
		allowed = []int{exitRestored}
	case len(after) > len(e.before):
		allowed = []int{exitFailed, exitUnexpected, exitInterrupted}
	}
	require.Contains(a.t, allowed, e.code, "%s under %s\n%s", words, f.name, e.said)
	if e.code != exitOK {
		require.Contains(a.t, e.said, "shipit: ", "it names a cause")
	}
	if len(after) > 0 && after[0].Good() {
		a.does(0, "status") // what is called good is good
	}
}

// timed runs a command with a limit of its own, and kills it a little after that of the table.
func (a ailing) timed(args ...string) (int, time.Duration, string) {
	cmd, said := a.command(nil, append([]string{"--timeout", "40s"}, args...)...)
	began := time.Now()
	require.NoError(a.t, cmd.Start())
	kill := time.AfterFunc(faultLimit+5*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), time.Since(began), said.String()
	}
	require.NoError(a.t, err)
	return 0, time.Since(began), said.String()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, "shipit:") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// afterTheFirstApply picks every request after the first that changes a workload.
func afterTheFirstApply() func(*http.Request) bool {
	var begun atomic.Bool
	return func(r *http.Request) bool {
		if begun.Load() {
			return true
		}
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/deployments/") && !dry(r.URL) {
			begun.Store(true)
		}
		return false
	}
}

func dry(u *url.URL) bool { return u.Query().Get("dryRun") != "" }
