package pipeline

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// halfTelling is a stand-in that tells the first line of each command while it runs, and
// never the end of its output.
type halfTelling struct {
	*standIn
	streams map[string]*io.PipeWriter
}

func (h halfTelling) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		body, w := io.Pipe()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.streams[r.URL.Path] = w
		return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
	}
	query, err := io.ReadAll(r.Body)
	require.NoError(h.t, err)
	r.Body = io.NopCloser(bytes.NewReader(query))
	if bytes.Contains(query, []byte("withExec")) && bytes.Contains(query, []byte("sync")) {
		asked := trace.SpanContextFromContext(r.Context()).SpanID()
		fmt.Fprintf(h.streams["/v1/traces"], `data: {"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"AAAA","parentSpanId":%q,"startTimeUnixNano":"1","endTimeUnixNano":"0"}]}]}]}`+"\n",
			base64.StdEncoding.EncodeToString(asked[:]))
		fmt.Fprint(h.streams["/v1/logs"], `data: {"resourceLogs":[{"scopeLogs":[{"logRecords":[{"spanId":"AAAA","body":{"stringValue":"one\n"},"attributes":[{"key":"stdio.stream","value":{"intValue":"1"}}]}]}]}]}`+"\n")
	}
	return h.standIn.Do(r)
}

func TestALineThatWasToldIsNotPrintedAgain(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Run = toolchain, [][]string{{"true"}}
	opts, engine := daggerOptions(t)
	engine.output = "two\none\none\n"
	opts.conn = halfTelling{engine, map[string]*io.PipeWriter{}}
	var printed []string
	opts.Progress = func(e release.Event) {
		if e.Mark == release.MarkStep {
			printed = append(printed, e.Message)
		}
	}
	_, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two", "one"}, printed)
}
