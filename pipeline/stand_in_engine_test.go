package pipeline

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// standIn answers the queries of the SDK in place of a session. It is no engine:
// it pulls no image, isolates nothing and runs commands on this machine. It
// shows which queries are asked, in which order, and that what comes out takes
// the same way as the embedded builder's content. TestARealEngine is for the rest.
type standIn struct {
	t  *testing.T
	mu sync.Mutex
	// objects are the calls that led to each id that was given out.
	objects []chain
	asked   []chain
	env     []string // of the commands that it runs
	output  string   // what each of them is said to have printed
	closed  bool
	before  func(c chain)    // is called before a chain is played, and may wait; nil waits for nothing
	seen    func(dir string) // is told of a folder that is mounted, when it is taken
	// forgetful makes it an engine whose layers do not say what was removed.
	forgetful bool
}

// call is one field of a query with its arguments.
type call struct {
	name string
	args map[string]any
}

type chain []call

func (c chain) String() string {
	var parts []string
	for _, x := range c {
		parts = append(parts, x.name)
	}
	return strings.Join(parts, ".")
}

// all are the calls of that name, in order.
func (c chain) all(name string) (out []call) {
	for _, x := range c {
		if x.name == name {
			out = append(out, x)
		}
	}
	return out
}

func (s *standIn) Host() string { return "stand-in" }

func (s *standIn) Close() error {
	s.closed = true
	return nil
}

// Do answers one GraphQL request.
func (s *standIn) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet { // it tells nothing of its work
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
	}
	var body struct{ Query string }
	require.NoError(s.t, json.NewDecoder(r.Body).Decode(&body))
	doc, err := parser.ParseQuery(&ast.Source{Input: body.Query})
	require.NoError(s.t, err, body.Query)
	var c chain
	for set := doc.Operations[0].SelectionSet; len(set) == 1; {
		f := set[0].(*ast.Field)
		args := map[string]any{}
		for _, a := range f.Arguments {
			args[a.Name], err = a.Value.Value(nil)
			require.NoError(s.t, err)
		}
		c = append(c, call{f.Name, args})
		set = f.SelectionSet
	}
	s.mu.Lock()
	s.asked = append(s.asked, c)
	s.mu.Unlock()
	answer, failed := s.answer(c)
	for i := len(c) - 1; i >= 0; i-- {
		answer = map[string]any{c[i].name: answer}
	}
	out := map[string]any{"data": answer}
	if failed != nil {
		out = map[string]any{"data": nil, "errors": []any{failed}}
	}
	data, err := json.Marshal(out)
	require.NoError(s.t, err)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(data))),
	}, nil
}

func (s *standIn) answer(c chain) (value any, failed map[string]any) {
	switch last := c[len(c)-1]; last.name {
	case "version":
		return "v0.21.8", nil
	case "defaultPlatform":
		return "linux/amd64", nil
	case "combinedOutput":
		return s.output, nil
	case "contents": // of the marker: each install is the first one
		return "1", nil
	case "id":
		if dir, ok := c[len(c)-2].args["path"].(string); ok && filepath.Base(dir) == "files" && s.seen != nil {
			s.seen(dir)
		}
		return s.keep(c), nil
	case "start", "stop":
		return s.keep(c), nil
	case "sync":
		s.wait(c)
		return s.keep(c), s.play(c, s.t.TempDir())
	case "export":
		s.wait(c)
		if c[0].name == "container" && c[1].name == "withRootfs" {
			return last.args["path"], s.archive(s.object(c[1].args["directory"]), last.args["path"].(string))
		}
		return last.args["path"], s.play(c, last.args["path"].(string))
	}
	s.t.Errorf("the stand-in does not know %s", c)
	return nil, nil
}

// keep gives out an id of what the chain describes.
func (s *standIn) keep(c chain) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = append(s.objects, c)
	return fmt.Sprintf("id-%d", len(s.objects)-1)
}

func (s *standIn) wait(c chain) {
	if s.before != nil {
		s.before(c)
	}
}

// object is the chain behind an id.
func (s *standIn) object(id any) chain {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	_, err := fmt.Sscanf(id.(string), "id-%d", &n)
	require.NoError(s.t, err)
	return s.objects[n]
}

// play puts what the chain describes into the folder at.
func (s *standIn) play(c chain, at string) map[string]any {
	require.NoError(s.t, os.MkdirAll(at, 0o700))
	if c[0].name == "host" { // no command runs
		return s.put(c, at)
	}
	for _, step := range c {
		switch step.name {
		case "withDirectory":
			s.put(s.object(step.args["source"]), at)
		case "withExec":
			if args := step.args["args"].([]any); strings.Contains(fmt.Sprint(args[2]), "/random/uuid") {
				step.args = map[string]any{"args": args[4:]} // or it writes beside the tree
			}
			if failed := s.exec(step, at); failed != nil {
				return failed
			}
		}
	}
	return nil
}

// archive writes what came after a container to a file: the difference of two trees, as
// the one layer of an image.
func (s *standIn) archive(diff chain, at string) map[string]any {
	before, after := s.t.TempDir(), s.t.TempDir()
	for dir, c := range map[string]chain{before: diff, after: s.after(diff)} {
		if failed := s.play(c, dir); failed != nil {
			return failed
		}
	}
	tree := strings.TrimPrefix(diff.all("withWorkdir")[0].args["path"].(string), "/")
	marker := strings.TrimPrefix(diff.all("withNewFile")[0].args["path"].(string), "/")
	layer := layerOf(s.t, before, after, tree)
	if !s.forgetful {
		layer = append(layer, tarEntry{name: path.Join(path.Dir(marker), ".wh."+path.Base(marker))})
	}
	writeArchive(s.t, at, layer)
	return nil
}

// after is the later container of a difference.
func (s *standIn) after(diff chain) chain {
	return s.object(diff.all("diff")[0].args["other"])
}

// put copies the folder of this machine that the chain names into the folder at.
func (s *standIn) put(c chain, at string) map[string]any {
	require.Equal(s.t, []string{"host", "directory"}, []string{c[0].name, c[1].name})
	out, err := exec.Command("/bin/cp", "-a", c[1].args["path"].(string)+"/.", at).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	return nil
}

// exec runs a command in the folder at.
func (s *standIn) exec(e call, at string) map[string]any {
	var args []string
	for _, a := range e.args["args"].([]any) {
		args = append(args, a.(string))
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = at, append([]string{"PATH=" + os.Getenv("PATH")}, s.env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return map[string]any{"message": "process did not complete successfully", "extensions": map[string]any{
			"_type": "EXEC_ERROR", "cmd": args, "exitCode": cmd.ProcessState.ExitCode(), "stdout": stdout.String(), "stderr": stderr.String(),
		}}
	}
	return nil
}

// takes are the containers whose trees were taken out, in order.
func (s *standIn) takes() (out []chain) {
	for _, c := range s.asked {
		switch {
		case c[len(c)-1].name != "export":
		case c[0].name == "container" && c[1].name == "withRootfs":
			out = append(out, s.after(s.object(c[1].args["directory"])))
		default:
			out = append(out, c)
		}
	}
	return out
}

// exported is the container of the one tree that was taken out.
func (s *standIn) exported() chain {
	found := s.takes()
	require.Len(s.t, found, 1)
	return found[0]
}
