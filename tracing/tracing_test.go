package tracing

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// receiver takes spans by OTLP, over HTTP and gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	spans    map[string]*spans.Span
	services []string
	headers  []string
}

func (r *receiver) take(req *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spans == nil {
		r.spans = map[string]*spans.Span{}
	}
	for _, from := range req.ResourceSpans {
		for _, a := range from.Resource.Attributes {
			if a.Key == "service.name" {
				r.services = append(r.services, a.Value.GetStringValue())
			}
		}
		for _, s := range from.ScopeSpans {
			for _, one := range s.Spans {
				r.spans[one.Name] = one
			}
		}
	}
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.take(req)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(body)
	}
	data, err := io.ReadAll(body)
	var message collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &message)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, "not spans", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.headers = append(r.headers, req.Header.Get("Authorization"))
	r.mu.Unlock()
	r.take(&message)
}

// wanted is an environment in which nothing asks for a trace but what is set.
func wanted(t *testing.T, set map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "OTEL_") || strings.HasPrefix(name, "DAGGER_") || name == "TRACEPARENT" {
			t.Setenv(name, "")
			require.NoError(t, os.Unsetenv(name))
		}
	}
	for name, value := range set {
		t.Setenv(name, value)
	}
}

// command is a traced command with one step.
func command(t *testing.T, failed error) {
	t.Helper()
	ctx, end, err := Start(t.Context(), "shipit build", "1.2.3")
	require.NoError(t, err)
	_, endStep := Span(ctx, "pnpm install")
	endStep(failed)
	require.NoError(t, end(failed))
}

func TestACommandAndItsStepsAreNamedSpans(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	overHTTP := &receiver{}
	web := httptest.NewServer(overHTTP)
	defer web.Close()
	overGRPC := &receiver{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, overGRPC)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	inCloud := &receiver{}
	cloud := httptest.NewServer(inCloud)
	defer cloud.Close()
	for _, tt := range []struct {
		name string
		r    *receiver
		set  map[string]string
	}{
		{"over HTTP", overHTTP, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": web.URL}},
		{"over gRPC", overGRPC, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
		{"in Dagger Cloud", inCloud, map[string]string{"DAGGER_CLOUD_TOKEN": "t0ken", "DAGGER_CLOUD_URL": cloud.URL}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wanted(t, tt.set)
			t.Setenv("TRACEPARENT", parent)
			command(t, errors.New("exit status 1\nand more"))
			whole, step := tt.r.spans["shipit build"], tt.r.spans["pnpm install"]
			require.NotNil(t, whole)
			require.NotNil(t, step)
			require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(whole.TraceId))
			require.Equal(t, "b7ad6b7169203331", hex.EncodeToString(whole.ParentSpanId))
			require.Equal(t, whole.SpanId, step.ParentSpanId)
			require.Equal(t, spans.Status_STATUS_CODE_ERROR, step.Status.Code)
			require.Equal(t, "exit status 1", step.Status.Message)
			require.Contains(t, tt.r.services, "shipit")
		})
	}
	require.Equal(t, "Basic dDBrZW46", inCloud.headers[0])
}

func TestASessionOfDaggerRunSendsSpansOnItself(t *testing.T) {
	r, cloud := &receiver{}, &receiver{}
	session, web := httptest.NewServer(r), httptest.NewServer(cloud)
	defer session.Close()
	defer web.Close()
	wanted(t, map[string]string{
		"DAGGER_SESSION_PORT": "1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": session.URL + "/v1/traces", "DAGGER_CLOUD_TOKEN": "t0ken", "DAGGER_CLOUD_URL": web.URL,
	})
	command(t, nil)
	require.Len(t, r.spans, 2)
	require.Empty(t, cloud.spans)
}

func TestNothingIsTracedUnlessItIsWanted(t *testing.T) {
	for name, set := range map[string]map[string]string{
		"nothing is set": {},
		"switched off":   {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		"no exporter":    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			wanted(t, set)
			ctx, end, err := Start(t.Context(), "shipit build", "1")
			require.NoError(t, err)
			require.False(t, trace.SpanContextFromContext(ctx).IsValid())
			require.NoError(t, end(nil))
		})
	}
}

func TestATraceThatCannotBeSentIsAnErrorOfItsOwn(t *testing.T) {
	wanted(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
	ctx, end, err := Start(t.Context(), "shipit build", "1")
	require.NoError(t, err)
	_, endStep := Span(ctx, "pnpm install")
	endStep(nil)
	began := time.Now()
	require.ErrorContains(t, end(nil), "127.0.0.1:1")
	require.Less(t, time.Since(began), sendLimit+30*time.Second, "the exporter itself would go on for a minute")

	wanted(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
	_, _, err = Start(t.Context(), "shipit build", "1")
	require.ErrorContains(t, err, `"http/json", not http/protobuf or grpc`)
}
