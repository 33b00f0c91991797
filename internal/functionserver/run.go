package functionserver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// client makes the calls to workers. A name that nobody has given to Reach is known to
// the worker alone, and as good as none.
func (s *Server) client() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, host string) (net.Conn, error) {
			s.mu.Lock()
			address, known := s.reach[host]
			s.mu.Unlock()
			if !known {
				return nil, fmt.Errorf("dial %s: no such host", host)
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// receive takes an event and runs the functions that wait for it.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	var event map[string]any
	if r.PathValue("key") != s.EventKey {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "Event key not found", "status": http.StatusUnauthorized})
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil || event["name"] == nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": "the event has no name", "status": http.StatusBadRequest})
		return
	}
	id := newID()
	if event["id"] == nil {
		event["id"] = id
	}
	event["ts"] = time.Now().UnixMilli()
	s.mu.Lock()
	for _, app := range s.apps {
		for _, f := range app.Functions {
			if slices.Contains(f.triggers, fmt.Sprint(event["name"])) {
				run := &Run{RunID: newID(), StartedAt: time.Now().UTC(), FunctionID: f.Slug, EventID: id, Status: "Running"}
				s.runs[id] = append(s.runs[id], run)
				go s.run(run, f, event)
			}
		}
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"ids": []string{id}, "status": http.StatusOK})
}

// run calls a function until it has no further step.
func (s *Server) run(run *Run, f Function, event map[string]any) {
	steps, stack := map[string]any{}, []string{}
	for range 20 {
		status, answer, err := s.call(run, f, event, steps, stack)
		switch {
		case err != nil:
			answer, _ = json.Marshal(map[string]string{"message": "Unable to reach SDK URL: " + err.Error()})
			s.end(run, "Failed", answer)
			return
		case status == http.StatusOK:
			s.end(run, "Completed", answer)
			return
		case status != http.StatusPartialContent:
			s.end(run, "Failed", answer)
			return
		}
		var ops []struct {
			ID   string
			Data any
		}
		if json.Unmarshal(answer, &ops) != nil || len(ops) == 0 {
			s.end(run, "Failed", answer)
			return
		}
		for _, op := range ops {
			steps[op.ID], stack = map[string]any{"type": "data", "data": op.Data}, append(stack, op.ID)
		}
	}
	s.end(run, "Failed", json.RawMessage(`{"message":"too many steps"}`))
}

func (s *Server) end(run *Run, status string, output []byte) {
	now := time.Now().UTC()
	if !json.Valid(output) {
		output, _ = json.Marshal(string(output))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	run.Status, run.Output, run.EndedAt = status, output, &now
}

// call is one request for a function: over a connection of its app, or to its URL.
func (s *Server) call(run *Run, f Function, event map[string]any, steps map[string]any, stack []string) (int, []byte, error) {
	body, err := json.Marshal(map[string]any{
		"version": 1, "use_api": false, "event": event, "events": []any{event}, "steps": steps,
		"ctx": map[string]any{
			"fn_id": f.Slug, "run_id": run.RunID, "attempt": 0, "disable_immediate_execution": false, "use_api": false,
			"stack": map[string]any{"stack": stack, "current": len(stack)},
		},
	})
	if err != nil {
		return 0, nil, err
	}
	if app, _ := s.App(f.app); app.Method == "CONNECT" {
		return s.callConnected(run, f, body)
	}
	return s.post(f.url, body)
}

// post calls a function at its URL, signed as the SDK demands.
func (s *Server) post(url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.SigningKey))
	_, _ = mac.Write(append(body, at...))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Inngest-Signature", "t="+at+"&s="+hex.EncodeToString(mac.Sum(nil)))
	res, err := s.calls.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, answer, err
}
