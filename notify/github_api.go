package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/joelhooks/shipit/release"
)

// api is what is used of GitHub's REST API
// (https://docs.github.com/rest/deployments, https://docs.github.com/rest/commits/statuses).
type api struct {
	client     *retryablehttp.Client
	base       string
	token      string
	repository string              // owner/name
	refusals   map[permission]bool // those that the token lacks
}

// permission is one that a call needs of the token, as GitHub names it.
type permission string

const (
	writeDeployments permission = "deployments: write"
	writeStatuses    permission = "statuses: write"
)

// refusedError is the first answer that the token lacks a permission.
type refusedError struct {
	*statusError
	permission permission
}

// errRefused is the error of a call that is not made: a refusedError was the answer before.
var errRefused = errors.New("the token may not")

// refused reports whether the answer says that the token may not: GitHub answers 404 where a
// token may not even know.
func (e *statusError) refused() bool {
	return !e.limited && (e.status == http.StatusUnauthorized || e.status == http.StatusForbidden || e.status == http.StatusNotFound)
}

// newDeployment asks for a deployment of a commit as it is: nothing is merged into it, and no
// other status is waited for.
type newDeployment struct {
	Ref         string   `json:"ref"`
	Task        string   `json:"task"`
	AutoMerge   bool     `json:"auto_merge"`
	Contexts    []string `json:"required_contexts"`
	Environment string   `json:"environment"`
	Description string   `json:"description"`
	Payload     payload  `json:"payload"`
}

type payload struct {
	App     string       `json:"app"`
	Seq     int64        `json:"seq"`
	Kind    release.Kind `json:"kind"`
	Version string       `json:"version,omitempty"`
}

// newState is a state of a deployment. Earlier ones are ended by endEarlier, which spares
// those of other apps.
type newState struct {
	State        state  `json:"state"`
	LogURL       string `json:"log_url,omitempty"`
	Description  string `json:"description"`
	AutoInactive bool   `json:"auto_inactive"`
}

type newStatus struct {
	State       state  `json:"state"`
	TargetURL   string `json:"target_url,omitempty"`
	Description string `json:"description"`
	Context     string `json:"context"`
}

func (a *api) createDeployment(ctx context.Context, d newDeployment) (int64, error) {
	d.Description = short(d.Description)
	var made struct{ ID int64 }
	err := a.call(ctx, call{http.MethodPost, "deployments", writeDeployments, d, &made})
	if err == nil && made.ID == 0 {
		err = errors.New("the answer names no deployment")
	}
	return made.ID, err
}

func (g *github) setState(ctx context.Context, id int64, s state, description string) error {
	return g.api.call(ctx, call{http.MethodPost, fmt.Sprintf("deployments/%d/statuses", id), writeDeployments,
		newState{State: s, LogURL: g.runURL, Description: short(description)}, nil})
}

// setStatus sets the status of the commit for this app and environment.
func (g *github) setStatus(ctx context.Context, r release.Record, s state) error {
	description := r.OutcomeText()
	if s == pending {
		description = "under way"
	}
	return g.api.call(ctx, call{http.MethodPost, "statuses/" + r.SHA, writeStatuses, newStatus{
		State: s, TargetURL: g.runURL, Description: short(description), Context: "shipit/" + g.app + "/" + g.environment,
	}, nil})
}

// earlierLimit is how many earlier deployments are looked at.
const earlierLimit = 10

// endEarlier makes the earlier deployments of the app in the environment inactive that have
// succeeded, or were never ended, back to the first that is inactive already.
func (g *github) endEarlier(ctx context.Context) error {
	var earlier []struct{ ID int64 }
	query := url.Values{"environment": {g.environment}, "task": {g.task()}, "per_page": {fmt.Sprint(earlierLimit)}}
	if err := g.api.call(ctx, call{http.MethodGet, "deployments?" + query.Encode(), writeDeployments, nil, &earlier}); err != nil {
		return err
	}
	for _, d := range earlier {
		if d.ID >= g.deployment { // a later run may have begun
			continue
		}
		var states []struct{ State state }
		at := fmt.Sprintf("deployments/%d/statuses", d.ID)
		if err := g.api.call(ctx, call{http.MethodGet, at + "?per_page=1", writeDeployments, nil, &states}); err != nil {
			return err
		}
		switch {
		case len(states) > 0 && states[0].State == inactive:
			return nil
		case len(states) > 0 && (states[0].State == failure || states[0].State == broken):
			continue
		}
		if err := g.setState(ctx, d.ID, inactive, "another runs now"); err != nil {
			return err
		}
	}
	return nil
}

// call is one request below the repository.
type call struct {
	method, path string
	permission   permission
	body, into   any
}

func (a *api) call(ctx context.Context, c call) error {
	if a.refusals[c.permission] {
		return errRefused
	}
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return err
		}
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, c.method, a.base+"/repos/"+a.repository+"/"+c.path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("User-Agent", "shipit")
	req.Header.Set("Content-Type", "application/json")
	answer, err := send(a.client, req)
	var failed *statusError
	if errors.As(err, &failed) {
		var said struct{ Message string }
		_ = json.Unmarshal(answer, &said) // what is no JSON says nothing
		failed.message = short(strings.ReplaceAll(release.OneLine(said.Message), a.token, "[hidden]"))
		if failed.refused() {
			a.refusals[c.permission] = true
			return &refusedError{failed, c.permission}
		}
	}
	if err == nil && c.into != nil {
		err = json.Unmarshal(answer, c.into)
	}
	return err
}

// short cuts a description to what GitHub takes.
func short(text string) string {
	const limit = 140
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}
