// Package workflows tests what GitHub runs: the workflows of .github, and the
// caller in docs/ci.md. It has no code of its own.
package workflows

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// granted lists every permission of every job: a further one is a decision, and
// is made here too.
func granted() map[string]string {
	return map[string]string{
		"ship.yml build":       "contents: read, packages: read",
		"ship.yml publish":     "contents: read, id-token: write, packages: write",
		"ship.yml deploy":      "contents: read, deployments: write, id-token: write, packages: write, statuses: write",
		"test.yml test":        "contents: read",
		"bench.yml bench":      "contents: read",
		"dagger.yml engine":    "contents: read",
		"release.yml test":     "contents: read",
		"release.yml binaries": "contents: write, id-token: write",
		"caller.yml ship":      "contents: read, deployments: write, id-token: write, packages: write, statuses: write",
	}
}

// mustFinish are the jobs that change the world: nothing may cancel one.
func mustFinish() map[string]bool {
	return map[string]bool{"ship.yml deploy": true, "release.yml binaries": true, "caller.yml ship": true}
}

func TestEveryWorkflowIsSound(t *testing.T) {
	files, err := filepath.Glob(root + "/.github/workflows/*.yml")
	require.NoError(t, err)
	require.Len(t, files, 5)
	var jobs []string
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text := read(t, path)
			require.Empty(t, faults(t, filepath.Base(path), text))
			for id := range parse(t, text).Jobs {
				jobs = append(jobs, filepath.Base(path)+" "+id)
			}
		})
	}
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(granted())), func(job string) bool { return strings.HasPrefix(job, "caller.yml") })
	require.ElementsMatch(t, want, jobs)
}

// Each fault is put into a sound workflow, and found.
func TestAFaultInAWorkflowIsFound(t *testing.T) {
	for _, c := range []struct{ name, file, old, new, want string }{
		{"an unknown key", "ship.yml", "    needs: build\n", "    need: build\n", `unexpected key "need"`},
		{"an output of a step that is not there", "ship.yml", "steps.release.outputs.seq", "steps.relese.outputs.seq", `property "relese" is not defined`},
		{"an input that is not declared", "ship.yml", "${{ inputs.timeout }}", "${{ inputs.time }}", `property "time" is not defined`},
		{"a tag in place of a SHA", "ship.yml", "setup-go@d35c59abb061a4a6fb18e82ac0862c26744d6ab5", "setup-go@v5", "is not pinned by SHA"},
		{"a branch in place of a SHA", "test.yml", "checkout@11bd71901bbe5b1630ceea73d27597364c9af683", "checkout@main", "is not pinned by SHA"},
		{"a SHA that does not say its version", "test.yml", " # v4.2.2", "", "does not say its version"},
		{"a token left in the checkout", "dagger.yml", "persist-credentials: false", "persist-credentials: true", "keeps its token"},
		{"a permission more", "ship.yml", "      contents: read # checkout", "      contents: write # checkout", "may contents: write"},
		{"the repository's code beside a token", "ship.yml", "shipit build --no-run", "shipit build", "runs code of the repository with id-token: write"},
		{"the repository's code beside the cluster", "ship.yml", "shipit release --no-run", "shipit release", "runs code of the repository with id-token: write"},
		{"every permission", "test.yml", "permissions:\n  contents: read # checkout", "permissions: write-all", "not named one by one"},
		{"no permissions named for the workflow", "release.yml", "permissions: {}\n", "", "names no permissions"},
		{"a begun deploy that is cancelled", "ship.yml", "cancel-in-progress: false", "cancel-in-progress: true", "can be cancelled"},
		{"a deploy that does not queue", "ship.yml", "    concurrency:\n      group: shipit-${{ github.repository }}-${{ inputs.environment }}\n      cancel-in-progress: false\n", "", "does not queue"},
		{"two repositories in one queue", "ship.yml", "group: shipit-${{ github.repository }}-", "group: shipit-", "one queue"},
		{"what an outsider wrote in a script", "ship.yml", `run: shipit check --env "$ENVIRONMENT" -- "$REV"`, `run: shipit check "${{ github.event.head_commit.message }}"`, "expression in a script"},
		{"an input in a script", "ship.yml", `run: shipit check --env "$ENVIRONMENT" -- "$REV"`, `run: shipit check "${{ inputs.rev }}"`, "expression in a script"},
		{"a commit that may be read as an option", "ship.yml", `"$RUNNER_TEMP/build" --env "$ENVIRONMENT" -- "$REV"`, `"$RUNNER_TEMP/build" --env "$ENVIRONMENT" "$REV"`, "for an option"},
		{"a commit that may be read as an option", "ship.yml", `--no-run --cache "$RUNNER_TEMP/build" --env "$ENVIRONMENT" -- "$REV"`, `--no-run --cache "$RUNNER_TEMP/build" --env "$ENVIRONMENT" "$REV"`, "for an option"},
		{"a secret that every step of the job sees", "ship.yml", "      TIMEOUT: ${{ inputs.timeout }}\n", "      KEY: ${{ secrets.cosign-key }}\n", "for all steps"},
		{"a token that every step of the job sees", "ship.yml", "      TIMEOUT: ${{ inputs.timeout }}\n", "      GITHUB_TOKEN: ${{ github.token }}\n", "for all steps"},
		{"a job without a limit", "dagger.yml", "    timeout-minutes: 45\n", "", "no time limit"},
		{"a shell that goes on after a failure in a pipe", "ship.yml", "    shell: bash # with pipefail, and the same on every runner\n", "    shell: sh\n", "shell is not bash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := read(t, root+"/.github/workflows/"+c.file)
			require.Contains(t, text, c.old)
			require.Contains(t, strings.Join(faults(t, c.file, strings.Replace(text, c.old, c.new, 1)), "\n"), c.want)
		})
	}
}

// dagger.yml runs `make dagger`, whose patterns find every test that asks for an engine;
// with another name the job would pass and test nothing.
func TestTheDaggerJobRunsTheTestsThatNeedAnEngine(t *testing.T) {
	require.Contains(t, read(t, root+"/.github/workflows/dagger.yml"), "run: make dagger\n")
	rule := regexp.MustCompile(`(?s)\ndagger:.*?\n\n`).FindString(read(t, root+"/Makefile"))
	require.Contains(t, rule, "SHIPIT_TEST_DAGGER=1 ")
	var patterns []string
	for _, m := range regexp.MustCompile(`-run '?([^\s']+)`).FindAllStringSubmatch(rule, -1) {
		patterns = append(patterns, strings.ReplaceAll(m[1], "$$", "$"))
	}
	tests := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(read(t, root+"/pipeline/real_engine_test.go"), -1)
	require.NotEmpty(t, tests)
	for _, m := range tests {
		require.Regexp(t, strings.Join(patterns, "|"), m[1])
	}
}

// faults lints a workflow by actionlint, and by this project's own rules.
func faults(t *testing.T, file, text string) []string {
	t.Helper()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	require.NoError(t, err)
	found, err := linter.Lint("<stdin>", []byte(text), nil)
	require.NoError(t, err)
	var out []string
	for _, f := range found {
		out = append(out, f.Error())
	}
	if w, _ := actionlint.Parse([]byte(text)); w != nil {
		out = append(out, rules{file: file, lines: strings.Split(text, "\n"), workflow: w}.broken()...)
	}
	return out
}

// rules hold one workflow against what actionlint does not ask for.
type rules struct {
	file     string
	lines    []string
	workflow *actionlint.Workflow
}

func (r rules) broken() []string {
	var out []string
	if r.workflow.Permissions == nil {
		out = append(out, r.file+" names no permissions: its jobs have what the repository's settings say")
	}
	for id, job := range r.workflow.Jobs {
		name := r.file + " " + id
		for _, broken := range r.job(name, job) {
			out = append(out, name+" "+broken)
		}
	}
	slices.Sort(out)
	return out
}

func (r rules) job(name string, job *actionlint.Job) []string {
	out := r.permissions(name, job)
	out = append(append(out, r.queue(name, job)...), r.foreign(job)...)
	if job.WorkflowCall != nil {
		return append(out, r.pinned(job.WorkflowCall.Uses)...)
	}
	if job.TimeoutMinutes == nil {
		out = append(out, "has no time limit")
	}
	for _, env := range []*actionlint.Env{r.workflow.Env, job.Env} {
		for key, value := range vars(env) {
			if strings.Contains(value, "secrets.") || strings.Contains(value, "github.token") {
				out = append(out, key+" is a secret for all steps")
			}
		}
	}
	if d := r.workflow.Defaults; d == nil || d.Run == nil || d.Run.Shell == nil || d.Run.Shell.Value != "bash" {
		out = append(out, "shell is not bash")
	}
	for _, step := range job.Steps {
		switch e := step.Exec.(type) {
		case *actionlint.ExecRun:
			if strings.Count(e.Run.Value, "$REV") != strings.Count(e.Run.Value, ` -- "$REV"`) {
				out = append(out, "takes a commit that begins with - for an option: write -- before it")
			}
			if e.Run.ContainsExpression() {
				out = append(out, "has an expression in a script: hand it over as an environment variable")
			}
		case *actionlint.ExecAction:
			out = append(out, r.pinned(e.Uses)...)
			if keep := e.Inputs["persist-credentials"]; strings.HasPrefix(e.Uses.Value, "actions/checkout@") && (keep == nil || keep.Value.Value != "false") {
				out = append(out, "keeps its token in the checkout")
			}
		}
	}
	return out
}

// building is a command that may run what the repository brings: the commands of
// shipit.yaml, and the scripts of packages that these install.
var building = regexp.MustCompile(`(?m)\bshipit (build|release|render|plan)\b(.*)$`)

// foreign holds a job that runs code of the repository to permissions that this
// code may have: it can read whatever the job can.
func (r rules) foreign(job *actionlint.Job) []string {
	var out []string
	for _, step := range job.Steps {
		script, ok := step.Exec.(*actionlint.ExecRun)
		if !ok {
			continue
		}
		for _, m := range building.FindAllStringSubmatch(script.Run.Value, -1) {
			if strings.Contains(m[2], "--no-run") || job.Permissions == nil {
				continue
			}
			for _, scope := range job.Permissions.Scopes {
				if scope.Value.Value != "read" {
					out = append(out, fmt.Sprintf("runs code of the repository with %s: %s", scope.Name.Value, scope.Value.Value))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func (r rules) permissions(name string, job *actionlint.Job) []string {
	p := job.Permissions
	if p == nil {
		p = r.workflow.Permissions
	}
	if p == nil {
		return nil // said for the workflow
	}
	if p.All != nil {
		return []string{"has permissions that are not named one by one"}
	}
	var scopes []string
	for _, scope := range p.Scopes {
		scopes = append(scopes, scope.Name.Value+": "+scope.Value.Value)
	}
	slices.Sort(scopes)
	if got := strings.Join(scopes, ", "); got != granted()[name] {
		return []string{fmt.Sprintf("may %s, and not %s", got, granted()[name])}
	}
	return nil
}

// queue holds a job that must finish to a queue that cancels nothing. A called
// workflow has a queue of its own for its deploy, so its caller may do without.
func (r rules) queue(name string, job *actionlint.Job) []string {
	if !mustFinish()[name] {
		return nil
	}
	queues := slices.DeleteFunc([]*actionlint.Concurrency{r.workflow.Concurrency, job.Concurrency}, func(c *actionlint.Concurrency) bool { return c == nil })
	if len(queues) == 0 {
		return []string{"does not queue"}
	}
	var out []string
	for _, q := range queues {
		if q.CancelInProgress == nil || q.CancelInProgress.Expression != nil || q.CancelInProgress.Value {
			out = append(out, "can be cancelled by the next")
		}
		if _, called := r.workflow.FindWorkflowCallEvent(); called && !strings.Contains(q.Group.Value, "${{ github.repository }}") {
			out = append(out, "has one queue for all its callers")
		}
	}
	return out
}

func (r rules) pinned(uses *actionlint.String) []string {
	var out []string
	if !regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`).MatchString(uses.Value) {
		out = append(out, uses.Value+" is not pinned by SHA")
	}
	if !strings.Contains(r.lines[uses.Pos.Line-1], " # ") {
		out = append(out, uses.Value+" does not say its version")
	}
	return out
}

// vars are the variables of an env block by their names as written.
func vars(e *actionlint.Env) map[string]string {
	out := map[string]string{}
	if e == nil {
		return out
	}
	for _, v := range e.Vars {
		out[v.Name.Value] = v.Value.Value
	}
	return out
}

func parse(t *testing.T, text string) *actionlint.Workflow {
	t.Helper()
	w, errs := actionlint.Parse([]byte(text))
	require.Empty(t, errs)
	return w
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
