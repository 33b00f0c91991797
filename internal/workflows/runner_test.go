package workflows

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/require"
)

// runner runs the scripts of a job as a hosted runner does: one bash each, the
// files that GITHUB_ENV, GITHUB_OUTPUT and GITHUB_STEP_SUMMARY name, later steps
// skipped after a failure unless they say otherwise. It is no runner: it knows
// the few expressions of ship.yml, runs no action (the checkout is already there),
// and in place of `go install` of a published version puts the shipit that was
// built from this tree on PATH.
type runner struct {
	t       *testing.T
	dir     string            // the checkout
	temp    string            // RUNNER_TEMP
	bin     string            // folder of shipit
	context map[string]string // what expressions stand for: inputs.rev, secrets.kubeconfig, …
	carried map[string]string // what scripts wrote to GITHUB_ENV
	onStep  func(name string) // before each script; nil is none
	hub     string            // address of what stands in for GitHub's API
	told    []string          // what it was told

	// When the log of a step says this, bash gets the signal that a runner sends
	// to a job that is cancelled.
	cancelAt string
}

// ran is what one script did.
type ran struct {
	code    int
	log     string
	outputs map[string]string
	summary string
}

var expression = regexp.MustCompile(`\$\{\{\s*(.+?)\s*\}\}`)

// value fills in the expressions of a text. What a step or a job did not set is
// empty, as on GitHub; any other unknown name fails the test.
func (r *runner) value(text string) string {
	r.t.Helper()
	return expression.ReplaceAllStringFunc(text, func(m string) string {
		name := expression.FindStringSubmatch(m)[1]
		got, ok := r.context[name]
		require.True(r.t, ok || strings.HasPrefix(name, "steps.") || strings.HasPrefix(name, "jobs."), "the test has no value for %s", m)
		return got
	})
}

// run runs a job and returns what each named script did. Outputs of steps and
// of the job become part of the context.
func (r *runner) run(id string, job *actionlint.Job) map[string]ran {
	r.t.Helper()
	results := map[string]ran{}
	r.carried = map[string]string{}
	failed := false
	for _, step := range job.Steps {
		script, ok := step.Exec.(*actionlint.ExecRun)
		if !ok || step.Name.Value == "install shipit" {
			continue
		}
		if step.If != nil {
			require.Equal(r.t, "always()", step.If.Value)
		} else if failed {
			continue
		}
		if r.onStep != nil {
			r.onStep(step.Name.Value)
		}
		env := r.env(job.Env, step.Env)
		got := r.script(script.Run.Value, env)
		results[step.Name.Value] = got
		failed = failed || got.code != 0
		for k, v := range pairs(r.t, env["GITHUB_ENV"]) {
			r.carried[k] = v
		}
		for k, v := range got.outputs {
			if step.ID != nil { // without an id nobody can read them
				r.context["steps."+step.ID.Value+".outputs."+k] = v
			}
		}
	}
	for _, o := range job.Outputs {
		r.context["jobs."+id+".outputs."+o.Name.Value] = r.value(o.Value.Value)
	}
	return results
}

// env is the environment of one script, with nothing of the test's own but PATH.
func (r *runner) env(blocks ...*actionlint.Env) map[string]string {
	r.t.Helper()
	files := r.t.TempDir()
	env := map[string]string{
		"PATH": r.bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME": r.temp, "CI": "true",
		"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "busrig/busrig", "GITHUB_ACTOR": "somebody",
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_RUN_ID": "7", "RUNNER_TEMP": r.temp, "GITHUB_API_URL": r.hub,
	}
	for _, name := range []string{"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		env[name] = filepath.Join(files, name)
		require.NoError(r.t, os.WriteFile(env[name], nil, 0o644))
	}
	for k, v := range r.carried {
		env[k] = v
	}
	for _, block := range blocks {
		for k, v := range vars(block) {
			env[k] = r.value(v)
		}
	}
	return env
}

// script runs text as `shell: bash` does.
func (r *runner) script(text string, env map[string]string) ran {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "script.sh")
	require.NoError(r.t, os.WriteFile(file, []byte(text), 0o600))
	cmd := exec.CommandContext(r.t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", file)
	cmd.Dir = r.dir
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	log := &watched{text: r.cancelAt, seen: func() { _ = cmd.Process.Signal(syscall.SIGINT) }}
	cmd.Stdout, cmd.Stderr = log, log
	err := cmd.Run()
	var exit *exec.ExitError
	require.True(r.t, err == nil || errors.As(err, &exit), "%v", err)
	summary, err := os.ReadFile(env["GITHUB_STEP_SUMMARY"])
	require.NoError(r.t, err)
	return ran{code: cmd.ProcessState.ExitCode(), log: log.all.String(), outputs: pairs(r.t, env["GITHUB_OUTPUT"]), summary: string(summary)}
}

// watched keeps what is written, and calls seen once when text has been.
type watched struct {
	text string
	seen func()
	all  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.all.Write(p)
	if w.text != "" && strings.Contains(w.all.String(), w.text) {
		w.text = ""
		w.seen()
	}
	return len(p), nil
}

// pairs reads a file of name=value lines.
func pairs(t *testing.T, file string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(read(t, file)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		require.True(t, ok, "%q is not name=value", line)
		out[name] = value
	}
	return out
}

// shipit builds the command from this tree and returns its folder.
func shipit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", filepath.Join(dir, "shipit"), "./cmd/shipit")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}
