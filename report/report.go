// Package report makes one HTML file of the records of an app: when what was released,
// which role ran what, how long it took and why it failed. The file needs no network.
package report

import (
	"bufio"
	_ "embed" // the page's parts
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

// The page, and what is put into it.
var (
	//go:embed page.html
	page string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// Report is what the page shows, and what `report -o json` prints.
type Report struct {
	App      string    `json:"app"`
	Made     time.Time `json:"made"`
	Digests  []string  `json:"digests"`  // every digest once; the releases name them by their place here
	Releases []Release `json:"releases"` // newest first
	Live     *Live     `json:"live,omitempty"`
}

// Live is what runs now.
type Live struct {
	Seq    int64    `json:"seq"` // of the last good release
	Parity bool     `json:"parity"`
	Drift  []string `json:"drift,omitempty"`
}

// Release is one record.
type Release struct {
	Seq       int64              `json:"seq"`
	Kind      release.Kind       `json:"kind"`
	SHA       string             `json:"sha"`
	Version   string             `json:"version,omitempty"`
	Outcome   release.Outcome    `json:"outcome"`
	Parity    bool               `json:"parity"`
	Text      string             `json:"text"` // the outcome in words
	Started   time.Time          `json:"started"`
	TookMS    int64              `json:"tookMs"`
	Reason    string             `json:"reason,omitempty"`
	Withdrawn bool               `json:"withdrawn,omitempty"`
	Origin    int64              `json:"origin,omitempty"`  // of a rollback: the release whose content it is
	Adopted   bool               `json:"adopted,omitempty"` // its content is what ran before the first release
	Roles     []Role             `json:"roles"`
	Failures  []*release.Failure `json:"failures,omitempty"`
	Steps     []Step             `json:"steps,omitempty"`
	Changes   []Change           `json:"changes,omitempty"` // of its objects, since the release before it
}

// Role is one role of a release.
type Role struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Digest int    `json:"digest"` // its place among the digests
	Parity bool   `json:"parity"`
	Ready  string `json:"ready"` // such as 1/1
	TookMS int64  `json:"tookMs,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Step is one step of a release, on a scale that begins with its first one.
type Step struct {
	Text   string `json:"text"`
	FromMS int64  `json:"fromMs"`
	TookMS int64  `json:"tookMs"`
	Failed bool   `json:"failed,omitempty"`
}

// New makes a report of records, newest first. events are those that the releases
// wrote; nil if none were kept.
func New(app string, records []release.Record, events []release.Event, now time.Time) Report {
	r := Report{App: app, Made: now.UTC().Truncate(time.Second), Digests: []string{}, Releases: []Release{}}
	places := map[string]int{}
	for _, rec := range records {
		out := Release{
			Seq: rec.Seq, Kind: rec.Kind, SHA: rec.SHA, Version: rec.Version, Outcome: rec.Outcome, Parity: rec.Parity, Text: rec.OutcomeText(),
			Started: rec.StartedAt.UTC(), Reason: rec.Reason, Withdrawn: rec.Withdrawn, Origin: rec.Origin, Adopted: rec.Adopted, Failures: rec.Failures, Roles: []Role{},
		}
		if !rec.SettledAt.IsZero() {
			out.TookMS = rec.SettledAt.Sub(rec.StartedAt).Milliseconds()
		}
		for _, role := range rec.Roles {
			place, known := places[role.Digest]
			if !known {
				place = len(r.Digests)
				places[role.Digest] = place
				r.Digests = append(r.Digests, role.Digest)
			}
			out.Roles = append(out.Roles, Role{
				Name: role.Name, Target: string(role.Target), Digest: place, Parity: role.InParity,
				Ready: fmt.Sprintf("%d/%d", role.Ready, role.Desired), TookMS: role.TookMS, Reason: role.Reason,
			})
		}
		r.Releases = append(r.Releases, out)
	}
	for i := range records {
		r.Releases[i].Steps = stepsOf(records, i, events)
	}
	return r
}

// Write writes the page.
func (r Report) Write(w io.Writer) error {
	data, err := json.Marshal(r) // which writes < and & so that no script ends early
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = strings.NewReplacer("{{app}}", escape(r.App), "{{style}}", style, "{{script}}", script, "{{data}}", string(data)).WriteString(w, page)
	return err
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;").Replace(text)
}

// stepsOf are the steps of the i-th of records: of the events between the end of the
// record before it and its own. Without events they are the switches of its roles, one
// after the other.
func stepsOf(records []release.Record, i int, events []release.Event) []Step {
	r := records[i]
	var from time.Time
	if i+1 < len(records) {
		from = records[i+1].SettledAt
	}
	var own []release.Event
	for _, e := range events {
		if e.At.After(from) && !e.At.After(r.SettledAt) {
			own = append(own, e)
		}
	}
	if len(own) > 0 {
		return stepsFrom(own)
	}
	var steps []Step
	var at int64
	for _, role := range r.Roles {
		if role.TookMS > 0 {
			steps = append(steps, Step{Text: role.Name + " switched and ready", FromMS: at, TookMS: role.TookMS, Failed: !role.InParity})
			at += role.TookMS
		}
	}
	return steps
}

// stepsFrom are the steps of one run: each from its start to its end.
func stepsFrom(events []release.Event) []Step {
	type open struct {
		at   time.Time
		text string
	}
	begun, first := map[string]open{}, events[0].At
	var steps []Step
	for _, e := range events {
		key := string(e.Phase) + "/" + e.Role
		text := strings.TrimSpace(e.Role + " " + e.Message)
		if e.Code != "" {
			text = strings.TrimSpace(e.Role + " " + string(e.Code))
		}
		switch e.Mark {
		case release.MarkStart:
			begun[key] = open{e.At, text}
		case release.MarkDone, release.MarkFail:
			start, known := begun[key]
			if !known {
				start = open{e.At.Add(-e.Took), text}
			}
			delete(begun, key)
			steps = append(steps, Step{Text: text, FromMS: max(start.at.Sub(first), 0).Milliseconds(), TookMS: e.At.Sub(start.at).Milliseconds(), Failed: e.Mark == release.MarkFail})
		}
	}
	return steps
}

// Events reads events as --events wrote them. A line that is cut off, as by a run that
// was killed, is left out.
func Events(r io.Reader) ([]release.Event, error) {
	var events []release.Event
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e release.Event
		if len(line) > 0 && json.Unmarshal(line, &e) == nil {
			events = append(events, e)
		}
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the events: %w", err)
		}
	}
}

// LiveOf is what a status says of what runs.
func LiveOf(status release.Record) *Live {
	live := &Live{Seq: status.Seq, Parity: status.Parity}
	for _, d := range status.Drift {
		live.Drift = append(live.Drift, d.String())
	}
	return live
}
