package workflows

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/config"
)

// callerPath is where docs/ci.md puts the caller, and what shipit.yaml names.
const callerPath = ".github/workflows/ship-system-bus.yml"

func TestTheDocumentedCallerIsSound(t *testing.T) {
	require.Empty(t, faults(t, "caller.yml", caller(t)))
}

// actionlint reads no workflow of another repository, so here the caller stands
// beside the one that it calls.
func TestTheDocumentedCallerFitsTheWorkflowThatItCalls(t *testing.T) {
	remote := regexp.MustCompile(`joelhooks/shipit/(\.github/workflows/ship\.yml)@0{40}`)
	text := remote.ReplaceAllString(caller(t), "./$1")
	require.NotEqual(t, caller(t), text)
	require.Empty(t, beside(t, text))
	for _, c := range []struct{ name, old, new, want string }{
		{"an input that is missing", "      deploy-runner: '[\"self-hosted\", \"panda\"]'\n", "", `input "deploy-runner" is required`},
		{"an input that is not there", "deploy-runner:", "runner:", `input "runner" is not defined`},
		{"a secret that is not there", "ssh-key:", "ssh:", `secret "ssh" is not defined`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, text, c.old)
			require.Contains(t, beside(t, strings.Replace(text, c.old, c.new, 1)), c.want)
		})
	}
}

// A job of a called workflow that asks for more than its caller grants never starts.
func TestTheDocumentedCallerGrantsWhatTheWorkflowNeeds(t *testing.T) {
	grants := parse(t, caller(t)).Jobs["ship"].Permissions
	jobs := parse(t, read(t, root+"/.github/workflows/ship.yml")).Jobs
	require.NotEmpty(t, jobs)
	for id, job := range jobs {
		for _, scope := range job.Permissions.Scopes {
			require.Contains(t, grants.Scopes, scope.Name.Value, id)
			if scope.Value.Value != "read" { // which every grant includes
				require.Equal(t, scope.Value.Value, grants.Scopes[scope.Name.Value].Value.Value, id)
			}
			require.Contains(t, read(t, root+"/docs/ci.md"), "| `"+scope.Name.Value+": "+scope.Value.Value+"` | ", "docs/ci.md says what it is for")
		}
	}
}

// The closure is that of joelclaw's commit 46c2113, as pipeline finds it once its
// link out of the repository is cut; testdata/joelclaw.txt lists it.
func TestTheDocumentedFiltersCoverTheClosure(t *testing.T) {
	closure := strings.Fields(read(t, "testdata/joelclaw.txt"))
	require.Empty(t, workflowFindings(t, caller(t), closure))

	t.Run("a package that is not listed is found", func(t *testing.T) {
		got := workflowFindings(t, strings.Replace(caller(t), "      - packages/telemetry/**\n", "", 1), closure)
		require.Len(t, got, 1)
		require.Contains(t, got[0], "a change of packages/telemetry")
		require.Contains(t, got[0], callerPath+":")
	})
	t.Run("so is a new workspace dependency", func(t *testing.T) {
		got := workflowFindings(t, caller(t), append(closure, "packages/new"))
		require.Len(t, got, 1)
		require.Contains(t, got[0], "a change of packages/new")
	})
	t.Run("so are the lockfile, a manifest and the configuration", func(t *testing.T) {
		for _, file := range []string{"pnpm-lock.yaml", "k8s/system-bus-worker.yaml", "shipit.yaml"} {
			got := workflowFindings(t, strings.Replace(caller(t), "      - "+file+"\n", "", 1), closure)
			require.Len(t, got, 1, file)
			require.Contains(t, got[0], "a change of "+file)
		}
	})
	t.Run("and a filter of all packages is enough", func(t *testing.T) {
		all := regexp.MustCompile(`(      - packages/\S+\n)+`).ReplaceAllString(caller(t), "      - packages/**\n")
		require.Empty(t, workflowFindings(t, all, closure))
	})
}

// workflowFindings runs check over a commit with that caller and closure.
func workflowFindings(t *testing.T, caller string, closure []string) []string {
	t.Helper()
	cfg, err := config.Parse(config.File, []byte(`app: system-bus
images:
  worker: {repository: ghcr.io/joelhooks/system-bus-worker, package: packages/system-bus, base: scratch, entrypoint: [bun, --no-install, run, src/serve.ts]}
roles:
  cluster: {image: worker, kubernetes: {namespace: joelclaw, manifests: [k8s/system-bus-worker.yaml]}}
check:
  workflow: `+callerPath+"\n"), "")
	require.NoError(t, err)
	tree := files{config.File: "", callerPath: caller, "k8s/system-bus-worker.yaml": "kind: Deployment\n"}
	for _, p := range closure {
		if path := filepath.Base(p); !strings.Contains(path, ".") {
			p += "/package.json"
		}
		tree[p] = "{}\n"
	}
	findings, err := check.Run(t.Context(), check.Input{Config: cfg, Tree: tree, Closures: map[string][]string{"worker": closure}})
	require.NoError(t, err)
	var out []string
	for _, f := range findings {
		if f.Code == "WorkflowPaths" {
			out = append(out, f.String())
		}
	}
	return out
}

// caller is the first block of YAML of docs/ci.md.
func caller(t *testing.T) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, root+"/docs/ci.md"), "```yaml\n")
	require.True(t, found)
	text, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	require.Contains(t, text, "# "+callerPath)
	return text
}

// beside lints text as a workflow of a repository that also holds ship.yml.
func beside(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, callerPath)
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o755))
	require.NoError(t, os.WriteFile(at, []byte(text), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".github/workflows/ship.yml"), []byte(read(t, root+"/.github/workflows/ship.yml")), 0o644))
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{WorkingDir: dir})
	require.NoError(t, err)
	found, err := linter.LintFiles([]string{at}, nil)
	require.NoError(t, err)
	var out []string
	for _, f := range found {
		out = append(out, f.Error())
	}
	return strings.Join(out, "\n")
}

// files is a tree in memory.
type files map[string]string

func (f files) ReadFile(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(text), nil
}

func (f files) List(path string) ([]string, error) {
	var out []string
	for p := range f {
		if path == "" || p == path || strings.HasPrefix(p, path+"/") {
			out = append(out, p)
		}
	}
	return out, nil
}

func (f files) ReadFiles(paths []string, visit func(string, io.Reader) error) error {
	for _, p := range paths {
		if text, ok := f[p]; ok {
			if err := visit(p, strings.NewReader(text)); err != nil {
				return err
			}
		}
	}
	return nil
}
