package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"
)

// request is one request to the API server, as its audit log has it.
type request struct {
	AuditID    string
	Verb       string
	RequestURI string
	UserAgent  string
	Received   time.Time `json:"requestReceivedTimestamp"`
}

// audit reads the API server's log from where the last reader stopped.
type audit struct {
	path   string
	offset int64
}

// skip forgets what is in the log so far.
func (a *audit) skip() error {
	info, err := os.Stat(a.path)
	if err == nil {
		a.offset = info.Size()
	}
	return err
}

// since gives the requests that a program made since the last skip, each once.
func (a *audit) since(agent string) ([]request, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return requestsOf(text, agent), nil
}

// requestsOf picks a program's requests out of audit lines. A watch stands there
// twice, when it began and when it ended, under one id. A line that is still
// being written is left out.
func requestsOf(text []byte, agent string) []request {
	var list []request
	seen := map[string]bool{}
	for line := range bytes.Lines(text) {
		var r request
		if json.Unmarshal(line, &r) != nil || seen[r.AuditID] || !strings.HasPrefix(strings.ToLower(r.UserAgent), agent) {
			continue
		}
		seen[r.AuditID] = true
		list = append(list, r)
	}
	return list
}

// firstChange is when the first request arrived that changes a Deployment;
// zero if there was none.
func firstChange(list []request) time.Time {
	var first time.Time
	for _, r := range list {
		writes := r.Verb == "patch" || r.Verb == "update" || r.Verb == "create"
		if !writes || !strings.Contains(r.RequestURI, "/deployments") || strings.Contains(r.RequestURI, "dryRun=") {
			continue
		}
		if first.IsZero() || r.Received.Before(first) {
			first = r.Received
		}
	}
	return first
}
