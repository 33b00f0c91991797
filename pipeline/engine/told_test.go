package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dagger.io/dagger/engineconn"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// telling is a session that tells of a command what a real engine, v0.20.0, told of one:
// the files are its spans and its logs, in which PARENT stands for the span of who asked.
type telling struct {
	t     *testing.T
	files string                 // their name; "" tells nothing
	asked map[string]chan string // for each stream, the spans of who asked
}

func (s telling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := strings.TrimPrefix(r.URL.Path, "/v1/")
	asked := s.asked[kind]
	switch {
	case asked == nil:
		in := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		for _, stream := range s.asked {
			if in.IsValid() {
				stream <- key(in.SpanID())
			}
		}
		fmt.Fprint(w, `{"data":{"version":"v0.20.0"}}`)
	case s.files == "":
		http.NotFound(w, r)
	default:
		w.(http.Flusher).Flush()
		data, err := os.ReadFile(filepath.Join("testdata", s.files+"."+kind))
		if err != nil {
			s.t.Error(err)
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(string(data), "PARENT", <-asked))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// conn is a connection to a server that stands for a session.
type conn struct{ *http.Client }

func (conn) Host() string { return "dagger" }
func (conn) Close() error { return nil }

func connTo(t *testing.T, h http.Handler) engineconn.EngineConn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return conn{sessionClient(engineconn.ConnectParams{Port: n})}
}

func TestWhatAnEngineTellsOfACommand(t *testing.T) {
	traced, end := sdk.NewTracerProvider().Tracer("").Start(t.Context(), "a trace")
	defer end.End()
	for _, tt := range []struct {
		name, files string
		want        Ran
		printed     []string
	}{
		{"that ran", "ran", Ran{Told: true, Took: 1078667320}, []string{"643180380", "one", "three", "two"}},
		{"whose result it had", "cached", Ran{Told: true, Cached: true}, nil},
		{"which it does not tell", "", Ran{}, nil},
	} {
		for in, ctx := range map[string]context.Context{"in a trace": traced, "in none": t.Context()} {
			t.Run(tt.name+", "+in, func(t *testing.T) {
				soon(t, func() time.Duration {
					s := telling{t, tt.files, map[string]chan string{"traces": make(chan string, 1), "logs": make(chan string, 1)}}
					e, err := Connect(t.Context(), Options{Conn: connTo(t, s)})
					require.NoError(t, err)
					defer e.Close()
					var printed []string
					began := time.Now()
					ran, err := e.Run(ctx, "a command", func(line string) { printed = append(printed, line) }, func(ctx context.Context) error {
						_, err := e.Client.Version(ctx)
						return err
					})
					took := time.Since(began)
					require.NoError(t, err)
					slices.Sort(printed)
					require.Equal(t, tt.want, ran)
					require.Equal(t, tt.printed, printed)
					return took
				})
			})
		}
	}
}

// soon runs what must not wait for what will not be told. On a busy machine it may take as
// long once; what does wait takes as long each time.
func soon(t *testing.T, run func() time.Duration) {
	t.Helper()
	var took time.Duration
	for range 5 {
		if took = run(); took < toldLimit {
			return
		}
	}
	require.Less(t, took, toldLimit, "nothing is waited for that will not be told")
}

func TestNothingIsWaitedForWhenAnEngineHasEnded(t *testing.T) {
	soon(t, func() time.Duration { return untilTheEndIsKnown(t) })
}

// untilTheEndIsKnown is how long a command runs whose engine ends.
func untilTheEndIsKnown(t *testing.T) time.Duration {
	t.Helper()
	s := telling{t, "ran", map[string]chan string{"traces": make(chan string, 1), "logs": make(chan string, 1)}}
	server := httptest.NewUnstartedServer(s)
	server.Start()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	e, err := Connect(t.Context(), Options{Conn: conn{sessionClient(engineconn.ConnectParams{Port: n})}})
	require.NoError(t, err)
	defer e.Close()
	began := time.Now()
	_, err = e.Run(t.Context(), "a command", func(string) {}, func(ctx context.Context) error {
		server.Config.Close()
		for _, asked := range s.asked {
			asked <- ""
		}
		_, err := e.Client.Version(ctx)
		return err
	})
	require.Error(t, err)
	return time.Since(began)
}

func TestOutputThatComesInPiecesIsWholeLines(t *testing.T) {
	var printed []string
	r := &run{output: func(line string) { printed = append(printed, line) }, rest: map[string]string{}}
	for _, e := range []entry{
		{stream: "1", text: "on"}, {stream: "2", text: "error\n"}, {stream: "1", text: "e\ntw"}, {stream: "1", text: "o\r50%\r100%\r\n\nlast"},
		{stream: "2", end: true}, {stream: "1", end: true},
	} {
		r.entry(e)
	}
	require.Equal(t, []string{"error", "one", "two", "50%", "100%", "last"}, printed)
}

// An engine that answers has not ended, whatever it could not reach.
func TestARegistryThatRefusesIsNoEngineThatEnded(t *testing.T) {
	server := httptest.NewServer(telling{t: t})
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	e, err := Connect(t.Context(), Options{Conn: conn{sessionClient(engineconn.ConnectParams{Port: n})}})
	require.NoError(t, err)
	defer e.Close()
	refused := errors.New(`failed to do request: Head "http://localhost:5999/v2/toolchain/manifests/1": dial tcp 127.0.0.1:5999: connect: connection refused`)
	require.Equal(t, refused, e.Explain(refused))
	server.Close()
	var broken *BrokenError
	require.ErrorAs(t, e.Explain(refused), &broken)
}

func TestASessionThatDoesNotSayWhetherItTellsHoldsNothingUp(t *testing.T) {
	stopped := errors.New("the build was stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	silent := make(chan struct{})
	c := connTo(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			cancel(stopped)
			<-silent
			return
		}
		fmt.Fprint(w, `{"data":{"version":"v0.20.0"}}`)
	}))
	t.Cleanup(func() { close(silent) })
	ended := make(chan error, 1)
	go func() {
		_, err := Connect(ctx, Options{Conn: c})
		ended <- err
	}()
	select {
	case err := <-ended:
		require.Equal(t, stopped, err)
	case <-time.After(time.Minute):
		require.Fail(t, "it is waited for")
	}
}
