package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// state is a state of a deployment or of a commit at GitHub.
type state string

const (
	inProgress state = "in_progress"
	pending    state = "pending" // of a commit: in progress
	success    state = "success"
	failure    state = "failure"
	broken     state = "error"
	inactive   state = "inactive"
)

// github is a listener: it makes a deployment of every run that changes something, with its
// states, and a status of the commit. What the token may not do is said once and left.
type github struct {
	api         api
	app         string
	environment string // its name there
	runURL      string
	jobs        chan job

	deployment int64    // of this run; 0: there is none
	failed     []string // what could not be told, and why
}

// job is a call of begun or ended.
type job struct {
	record release.Record
	ended  bool
}

// newGitHub is nil where GitHub is not told: it is to be left alone, or nobody gave a token.
func newGitHub(o Options) *github {
	token, inActions := o.getenv("GITHUB_TOKEN"), o.getenv("GITHUB_ACTIONS") == "true"
	report := cmp.Or(o.Config.GitHub.Report, "auto")
	if report == "never" || report == "auto" && (!inActions || token == "") {
		return nil
	}
	g := &github{app: o.App, environment: cmp.Or(o.Config.GitHub.Environment, o.Environment, "production"), jobs: make(chan job, 2)}
	repository := repositoryOf(o)
	g.api = api{
		client: newClient(o), token: token, repository: repository, refusals: map[permission]bool{},
		base: strings.TrimSuffix(cmp.Or(o.getenv("GITHUB_API_URL"), "https://api.github.com"), "/"),
	}
	if id := o.getenv("GITHUB_RUN_ID"); id != "" {
		g.runURL = fmt.Sprintf("%s/%s/actions/runs/%s", cmp.Or(o.getenv("GITHUB_SERVER_URL"), "https://github.com"), repository, id)
	}
	switch {
	case token == "":
		g.failed = append(g.failed, "GITHUB_TOKEN is not set")
	case repository == "":
		g.failed = append(g.failed, "the repository is not known: name it as source in shipit.yaml")
	}
	return g
}

// repositoryOf is owner/name of the repository that is told: the job's, that of the sources,
// or that of the clone; "" if none is known at GitHub.
func repositoryOf(o Options) string {
	repository := cmp.Or(o.getenv("GITHUB_REPOSITORY"), repositoryAt(o.Source))
	if repository == "" && o.Origin != nil {
		return repositoryAt(o.Origin())
	}
	return repository
}

// repositoryAt is owner/name of a git address at github.com, by HTTPS or SSH; "" of another one.
func repositoryAt(address string) string {
	address = strings.Replace(address, "git@github.com:", "https://github.com/", 1)
	u, err := url.Parse(strings.TrimPrefix(address, "git+"))
	if err != nil || u.Hostname() != "github.com" {
		return ""
	}
	name := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	if strings.Count(name, "/") != 1 {
		return ""
	}
	return name
}

func (g *github) event(release.Event) {}

func (g *github) begun(r release.Record) {
	if r.SHA != "" { // that of what ran before the first release is not known
		g.queue(job{record: r})
	}
}

// ended tells nothing of a run that changed nothing.
func (g *github) ended(r release.Record) {
	if !r.Unchanged && r.SHA != "" {
		g.queue(job{r, true})
	}
}

// queue never waits: a run has one begin and one end.
func (g *github) queue(j job) {
	select {
	case g.jobs <- j:
	default:
	}
}

func (g *github) close() { close(g.jobs) }

func (g *github) run(ctx context.Context) {
	unusable := len(g.failed) > 0
	for j := range g.jobs {
		switch {
		case unusable:
		case j.ended:
			g.tellEnd(ctx, j.record)
		default:
			g.tellBegin(ctx, j.record)
		}
	}
}

func (g *github) tellBegin(ctx context.Context, r release.Record) {
	id, err := g.api.createDeployment(ctx, newDeployment{
		Ref: r.SHA, Task: g.task(), Contexts: []string{}, Environment: g.environment, Description: describe(r),
		Payload: payload{App: r.App, Seq: r.Seq, Kind: r.Kind, Version: r.Version},
	})
	if g.tried("create a deployment", err) {
		g.deployment = id
		g.tried("set the state of the deployment", g.setState(ctx, id, inProgress, describe(r)))
	}
	g.tried("set a status of the commit", g.setStatus(ctx, r, pending))
}

func (g *github) tellEnd(ctx context.Context, r release.Record) {
	end := endOf(r)
	if g.deployment != 0 && g.tried("set the state of the deployment", g.setState(ctx, g.deployment, end, r.OutcomeText())) && end == success {
		g.tried("end earlier deployments", g.endEarlier(ctx))
	}
	g.tried("set a status of the commit", g.setStatus(ctx, r, end))
}

// endOf is how GitHub calls an outcome. A deployment that was restored failed: what runs is
// that of an earlier one, which is still active.
func endOf(r release.Record) state {
	switch {
	case r.Outcome == release.Settled && r.Parity:
		return success
	case r.Outcome == release.Pending:
		return broken // interrupted
	default:
		return failure
	}
}

// task tells the deployments of one app from those of others in the same repository.
func (g *github) task() string { return "deploy:" + g.app }

func describe(r release.Record) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s #%d %s", r.App, r.Kind, r.Seq, r.Version))
}

// tried reports whether a call went well, and keeps why not.
func (g *github) tried(what string, err error) bool {
	var refused *refusedError
	switch {
	case err == nil:
		return true
	case errors.Is(err, errRefused): // it was said already
	case errors.As(err, &refused):
		g.failed = append(g.failed, fmt.Sprintf("the token may not %s (%s); it needs the permission %s", what, refused, refused.permission))
	default:
		if line := fmt.Sprintf("could not %s: %s", what, release.OneLine(err.Error())); !slices.Contains(g.failed, line) {
			g.failed = append(g.failed, line)
		}
	}
	return false
}

// missed is one line.
func (g *github) missed() string {
	if len(g.failed) == 0 {
		return ""
	}
	return "GitHub was not told: " + strings.Join(g.failed, "; ")
}
