package functionserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/protobuf/encoding/protowire"
)

// The kinds of messages between a gateway and a worker in connect mode.
const (
	gatewayHello     = 0
	workerConnect    = 1
	gatewayReady     = 2
	gatewayRequest   = 3
	workerReply      = 6
	workerReplyAck   = 7
	workerPause      = 8
	workerHeartbeat  = 9
	gatewayHeartbeat = 10
)

// request is one call of a function over a connection, and where its answer goes.
type request struct {
	id, app, slug, run string
	body               []byte
	answer             chan response
}

type response struct {
	status int
	body   []byte
}

// startConnection tells a worker where the gateway is.
func (s *Server) startConnection(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.connecting++
	turnedAway := s.NoGateway
	s.mu.Unlock()
	if turnedAway || !s.authorized(r) {
		http.Error(w, "no gateway", http.StatusServiceUnavailable)
		return
	}
	endpoint := "ws" + strings.TrimPrefix(s.URL, "http") + "/v0/connect/gateway"
	_, _ = w.Write(message(newID(), endpoint, "gateway-1", "session", "sync"))
}

// gateway holds the connections of workers in connect mode.
func (s *Server) gateway() http.Handler {
	return websocket.Server{
		Handshake: func(c *websocket.Config, _ *http.Request) error { return nil },
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			s.serve(ws)
		},
	}
}

// serve is the life of one connection.
func (s *Server) serve(ws *websocket.Conn) {
	if send(ws, gatewayHello, nil) != nil {
		return
	}
	kind, payload, err := receive(ws)
	if err != nil || kind != workerConnect {
		return
	}
	connections := s.connected(payload)
	if send(ws, gatewayReady, message("10s", "5s")) != nil {
		return
	}
	done := make(chan struct{})
	defer close(done)
	pending := map[string]chan response{}
	for _, c := range connections {
		go s.forward(ws, c, pending, done)
	}
	for {
		kind, payload, err := receive(ws)
		if err != nil || kind == workerPause {
			s.setStatus(connections, "DISCONNECTED")
			return
		}
		switch kind {
		case workerHeartbeat:
			err = send(ws, gatewayHeartbeat, nil)
		case workerReply:
			id, answer := answerIn(payload)
			s.mu.Lock()
			waiting := pending[id]
			delete(pending, id)
			s.mu.Unlock()
			if waiting != nil {
				waiting <- answer
			}
			err = send(ws, workerReplyAck, message(id))
		}
		if err != nil {
			s.setStatus(connections, "DISCONNECTED")
			return
		}
	}
}

// connected notes the apps that a worker brings, each with a connection.
func (s *Server) connected(payload []byte) []*Connection {
	f := fields(payload)
	var out []*Connection
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, raw := range f[5] {
		app := fields(raw)
		var functions []declared
		_ = json.Unmarshal(first(app[4]), &functions)
		c := &Connection{
			AppName: string(first(app[1])), InstanceID: string(first(f[2])), Status: "READY", ConnectedAt: time.Now().UTC(),
			FunctionCount: len(functions), SDKVersion: string(first(f[11])), requests: make(chan *request, 16),
		}
		s.connections, out = append([]*Connection{c}, s.connections...), append(out, c)
		s.apps[c.AppName] = App{
			Name: c.AppName, URL: "ws://connect?app_name=" + c.AppName, Method: "CONNECT", SDKLanguage: "js", SDKVersion: c.SDKVersion, Framework: "connect",
			FunctionCount: len(functions), Functions: functionsOf(c.AppName, functions), Connected: true,
		}
	}
	return out
}

func (s *Server) setStatus(connections []*Connection, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range connections {
		c.Status = status
	}
}

// forward sends the requests for one app to its worker until the connection ends.
func (s *Server) forward(ws *websocket.Conn, c *Connection, pending map[string]chan response, done <-chan struct{}) {
	for {
		select {
		case r := <-c.requests:
			s.mu.Lock()
			pending[r.id] = r.answer
			s.mu.Unlock()
			_ = send(ws, gatewayRequest, numbered(map[protowire.Number]string{
				1: r.id, 2: "account", 3: "env", 4: "app", 5: r.app, 6: r.slug, 7: r.slug, 8: "step", 9: string(r.body), 12: r.run, 13: newID(),
			}))
		case <-done:
			return
		}
	}
}

// callConnected runs a function over the newest connection of its app.
func (s *Server) callConnected(run *Run, f Function, body []byte) (int, []byte, error) {
	s.mu.Lock()
	at := slices.IndexFunc(s.connections, func(c *Connection) bool { return c.AppName == f.app && c.Status == "READY" })
	var c *Connection
	if at >= 0 {
		c = s.connections[at]
	}
	s.mu.Unlock()
	if c == nil {
		return 0, nil, errors.New("no worker is connected")
	}
	r := &request{id: newID(), app: f.app, slug: f.Slug, run: run.RunID, body: body, answer: make(chan response, 1)}
	c.requests <- r
	select {
	case answer := <-r.answer:
		return answer.status, answer.body, nil
	case <-time.After(time.Minute):
		return 0, nil, fmt.Errorf("worker %s does not answer", c.InstanceID)
	}
}

// answerIn is what a worker replied, with its status as HTTP has it.
func answerIn(payload []byte) (id string, answer response) {
	f := fields(payload)
	status, _ := protowire.ConsumeVarint(first(f[5]))
	return string(first(f[1])), response{map[uint64]int{0: http.StatusPartialContent, 1: http.StatusOK, 2: http.StatusInternalServerError}[status], first(f[6])}
}

func send(ws *websocket.Conn, kind uint64, payload []byte) error {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), payload)
	return websocket.Message.Send(ws, b)
}

func receive(ws *websocket.Conn) (kind uint64, payload []byte, err error) {
	var raw []byte
	if err := websocket.Message.Receive(ws, &raw); err != nil {
		return 0, nil, err
	}
	f := fields(raw)
	kind, _ = protowire.ConsumeVarint(first(f[1]))
	return kind, first(f[2]), nil
}

// message is a message whose fields 1, 2, … are these texts.
func message(texts ...string) []byte {
	all := map[protowire.Number]string{}
	for i, text := range texts {
		all[protowire.Number(i+1)] = text
	}
	return numbered(all)
}

func numbered(texts map[protowire.Number]string) []byte {
	var b []byte
	for number, text := range texts {
		b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
	}
	return b
}

// fields are the values of a message by their numbers; numbers as they are encoded.
func fields(b []byte) map[protowire.Number][][]byte {
	out := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return out
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return out
		}
		value := b[:size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		out[number] = append(out[number], value)
		b = b[size:]
	}
	return out
}

func first(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}
