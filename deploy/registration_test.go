package deploy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// registry is a server that holds the URL of one worker, and the worker itself: it
// announces the Host of the request, or an address of its own.
type registry struct {
	mu  sync.Mutex
	url string
	own string
	*httptest.Server
}

func (r *registry) set(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url = url
}

func (r *registry) held() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.url
}

func (r *registry) worker(w http.ResponseWriter, req *http.Request) {
	host := req.Host
	if r.own != "" {
		host = r.own
	}
	if req.Method == http.MethodPut {
		r.set("http://" + host + req.URL.Path)
		fmt.Fprint(w, `{"modified":true}`)
		return
	}
	fmt.Fprint(w, `{"functions":["a"],"count":1}`)
}

// registering is an app of one role that registers, and its release with these objects.
func registering(t *testing.T, objects ...string) (*app, *registry, release.Release) {
	t.Helper()
	r := &registry{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"url": r.held()})
	}))
	t.Cleanup(r.Close)
	a := newApp(t, "cluster")
	a.target.answer, a.target.secret = r.worker, "none"
	a.Config.Roles[0] = config.Role{
		Name: "cluster", Port: 3111, Probe: &config.Probe{Path: "/"},
		Register: &config.Register{Path: "/api/inngest", Ask: &config.Request{URL: r.URL}},
	}
	rel := releaseOf(oldSHA, oldBits, "cluster")
	for _, object := range objects {
		rel.Roles[0].Objects = append(rel.Roles[0].Objects, json.RawMessage(object))
	}
	return a, r, rel
}

const (
	workerService = `{"Hosts":["worker.bus.svc:80","worker:80"]}`
	announcesURL  = `{"Env":{"PORT":"3111","INNGEST_SERVE_HOST":%q}}`
)

func TestAWorkerRegistersWhereTheServerReachesIt(t *testing.T) {
	for name, tt := range map[string]struct {
		objects []string
		want    string
	}{
		"at its Service": {[]string{workerService}, "http://worker.bus.svc:80/api/inngest"},
		"at its Service, if it announces an empty address":  {[]string{fmt.Sprintf(announcesURL, ""), workerService}, "http://worker.bus.svc:80/api/inngest"},
		"at its Service, if its address is filled in later": {[]string{fmt.Sprintf(announcesURL, "http://$(POD_IP):3111"), workerService}, "http://worker.bus.svc:80/api/inngest"},
		"at what it announces":                              {[]string{workerService, fmt.Sprintf(announcesURL, "http://bus:3111")}, "http://bus:3111/api/inngest"},
	} {
		t.Run(name, func(t *testing.T) {
			a, r, rel := registering(t, tt.objects...)
			record, err := a.ship(t, rel, deploy.Terms{})
			require.NoError(t, err)
			require.Equal(t, release.Settled, record.Outcome, record.Reason)
			require.True(t, record.Parity)
			require.Equal(t, tt.want, r.held())
			require.Contains(t, record.Functions.Roles[0].Registered, ", at "+tt.want)
		})
	}
}

func TestARegistrationThatNobodyReachesIsRefused(t *testing.T) {
	t.Run("before anything changes, if no address is known", func(t *testing.T) {
		a, r, rel := registering(t)
		_, err := a.ship(t, rel, deploy.Terms{})
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, release.CodeRegistrationAddress, refusal.Findings[0].Code)
		require.Empty(t, r.held())
		require.Empty(t, a.target.calls)
		plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, nil)
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(plan.Findings), "RegistrationAddress")
		rel.Adopted = true
		plan, err = a.Plan(t.Context(), rel, deploy.Terms{}, nil)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(plan.Findings), "RegistrationAddress", "what ran before the first release goes back as it was")
	})
	t.Run("before anything changes, if the worker announces a loopback address", func(t *testing.T) {
		a, _, rel := registering(t, workerService, fmt.Sprintf(announcesURL, "http://127.0.0.1:3111"))
		_, err := a.ship(t, rel, deploy.Terms{})
		require.ErrorContains(t, err, "the worker would register 127.0.0.1:3111, where the server finds itself")
		a.Config.Roles[0].Register.Host = "127.0.0.1:3111"
		_, err = a.ship(t, rel, deploy.Terms{})
		require.NoError(t, err, "both may run on one machine")
	})
	t.Run("and the release before registers again", func(t *testing.T) {
		a, r, rel := registering(t, workerService)
		_, err := a.ship(t, rel, deploy.Terms{})
		require.NoError(t, err)
		good := r.held()
		next := releaseOf(newSHA, newBits, "cluster")
		next.Roles[0].Objects = rel.Roles[0].Objects
		a.target.answer = func(w http.ResponseWriter, req *http.Request) {
			r.mu.Lock()
			if r.own = ""; a.target.runs["cluster"] == newBits {
				r.own = "127.0.0.1:3111" // by its code: nobody can know before
			}
			r.mu.Unlock()
			r.worker(w, req)
		}
		record, err := a.ship(t, next, deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.Contains(t, record.Reason, "http://127.0.0.1:3111/api/inngest is registered, not a URL on worker.bus.svc:80")
		require.Equal(t, good, r.held())
	})
}

func TestRolesRegisterAgainWhenAllAreBack(t *testing.T) {
	two := func(t *testing.T) (a *app, next release.Release) {
		a, r, rel := registering(t, workerService)
		second := a.Config.Roles[0]
		second.Name = "gateway"
		a.Config.Roles = append(a.Config.Roles, second)
		a.Config.Functions.AllowDuplicates = []string{"a"}
		a.target.answer = func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPut {
				a.target.note("register")
			}
			r.worker(w, req)
		}
		next = releaseOf(newSHA, newBits, "cluster", "gateway")
		next.Roles[0].Objects, next.Roles[1].Objects = rel.Roles[0].Objects, rel.Roles[0].Objects
		a.target.switches = crash("gateway", newBits)
		return a, next
	}
	t.Run("and a leftover is gone", func(t *testing.T) {
		a, next := two(t)
		good := next
		good.SHA, good.Roles = oldSHA, slices.Clone(next.Roles)
		good.Roles[0].Digest, good.Roles[1].Digest = oldBits, oldBits
		_, err := a.ship(t, good, deploy.Terms{})
		require.NoError(t, err)
		a.Config.Roles = append(a.Config.Roles, config.Role{Name: "added"})
		next.Roles = append([]release.Role{{Name: "added", Target: onMemory, Digest: newBits}}, next.Roles...)
		a.target.calls = nil
		record, err := a.ship(t, next, deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.Equal(t, []string{"switch added " + newBits, "switch cluster " + newBits, "register", "switch gateway " + newBits,
			"switch cluster " + oldBits, "switch gateway " + oldBits, "remove added", "register", "register"}, a.target.calls)
	})
	t.Run("but not those of before the first release", func(t *testing.T) {
		a, next := two(t)
		a.target.runs["cluster"], a.target.runs["gateway"] = foundBits, foundBits
		record, err := a.ship(t, next, deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.Equal(t, []string{"switch cluster " + newBits, "register", "switch gateway " + newBits, "switch cluster " + foundBits, "switch gateway " + foundBits}, a.target.calls)
	})
}

func TestAReleaseThatWasKilledBeforeItRegisteredIsFinished(t *testing.T) {
	a, r, rel := registering(t, workerService)
	a.kill(t, rel)
	a.target.runs["cluster"] = oldBits
	r.set("http://old.example/api/inngest")
	next := releaseOf(newSHA, newBits, "cluster")
	next.Roles[0].Objects = rel.Roles[0].Objects
	_, err := a.ship(t, next, deploy.Terms{})
	require.NoError(t, err)
	killed, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, release.Settled, killed.Record.Outcome)
	require.Contains(t, killed.Record.Functions.Roles[0].Registered, ", at http://worker.bus.svc:80/api/inngest")
}

func TestStatusSaysWhatTheServerHasRegistered(t *testing.T) {
	a, r, rel := registering(t, workerService)
	plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Len(t, plan.Changes, 1, "of what does not run nothing is registered")
	_, err = a.ship(t, rel, deploy.Terms{})
	require.NoError(t, err)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Record.Drift)
	require.Equal(t, "http://worker.bus.svc:80/api/inngest", status.Record.Functions.Roles[0].Registered)

	// Another hand, or the worker itself a moment later, registers something else.
	r.set("http://127.0.0.1:3111/api/inngest")
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.Record.Parity)
	require.Equal(t, "cluster: object: wanted a URL on worker.bus.svc:80, live http://127.0.0.1:3111/api/inngest (registration at the server: url)", status.Record.Drift[0].String())
	require.Contains(t, status.Record.Functions.Roles[0].Unregistered, "not a URL on worker.bus.svc:80")
	plan, err = a.Plan(t.Context(), rel, deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Equal(t, "registration at the server", plan.Changes[0].Object)
	a.target.stopped["cluster"] = true
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, status.Record.Drift, 1, "of what is down it is enough to say so")
	a.target.stopped["cluster"] = false

	record, err := a.ship(t, rel, deploy.Terms{})
	require.NoError(t, err)
	require.False(t, record.Unchanged, "a release of the same commit puts it right")
	require.Equal(t, "http://worker.bus.svc:80/api/inngest", r.held())
	record, err = a.ship(t, rel, deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Unchanged)

	// A server that cannot be asked is no drift, and is said.
	r.Close()
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Record.Drift)
	require.Contains(t, status.Record.Functions.Roles[0].Unasked, "connection refused")
	require.Empty(t, status.Record.Functions.Roles[0].Unregistered)
	var told []string
	a.Progress = func(e release.Event) { told = append(told, e.Role+": "+e.Message) }
	record, err = a.ship(t, rel, deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Unchanged)
	require.Contains(t, record.Functions.Roles[0].Unasked, "connection refused")
	require.Contains(t, strings.Join(told, "\n"), "cluster: what the server has registered could not be asked: ")
	sealed, err := a.Ledger.Read(t.Context(), record.Seq)
	require.NoError(t, err)
	require.Empty(t, sealed.Record.Functions.Roles[0].Unasked)
}
