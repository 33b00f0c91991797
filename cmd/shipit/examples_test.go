package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// TestEveryExampleRuns runs the examples of the help texts in order, each as it stands
// there but for what it is piped into, on an app that has been released as 1.4.1 (#1) and
// 1.4.2 (#2): of an example that names a record or a commit, one of these is meant.
func TestEveryExampleRuns(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	w := simulated(t).newExamples(t)
	ends := map[string]int{ // where another exit code than 0 is right
		"shipit init":                   exitRefused, // a shipit.yaml is there
		"shipit history 0":              exitRefused, // nothing ran before the first release
		"shipit rollback --to 0":        exitRefused,
		"shipit plan --exit-code":       exitDrift,   // HEAD was not released
		"shipit release v1.4.2 -o json": exitRefused, // 1.4.3 runs: that would be a downgrade
	}
	first := map[string]func(){
		"shipit promote staging production": func() { w.does(0, "release", "--env", "staging") },
		"shipit init -C ~/src/joelclaw":     w.withoutConfiguration,
	}
	for _, c := range commands() {
		if !c.HasParent() {
			continue // its examples are those of the others
		}
		for _, line := range strings.Split(c.Example, "\n") {
			call := example.FindStringSubmatch(line)[1]
			if f := first[call]; f != nil {
				f()
			}
			code, said := w.example(call)
			if want := ends[call]; code != want {
				t.Errorf("exit code %d, not %d:%s\n%s", code, want, line, said)
			}
		}
	}
}

// newExamples is the app of the examples: HEAD is 1.4.3, in the environments staging and
// production too, and the contexts of these names are the same cluster.
func (g ground) newExamples(t *testing.T) *walk {
	t.Helper()
	w := &walk{shop: g.shop(t, "examples")}
	for _, env := range []string{"staging", "production"} {
		_, err := g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "examples-" + env}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	w.repo.Git("reset", "-q", "--hard", w.sha["v1"])
	environments := "environments:\n  staging: {roles: {cluster: {kubernetes: {namespace: examples-staging}}}}\n  production: {roles: {cluster: {kubernetes: {namespace: examples-production}}}}\n"
	w.sha["v1"] = w.repo.Commit("v1.4.1", map[string]string{"shipit.yaml": w.repo.Read("shipit.yaml") + environments})
	w.repo.Git("tag", "v1.4.1")
	w.does(0, "release")
	w.repo.Commit("v1.4.2", w.edition("1.4.2"))
	w.repo.Git("tag", "v1.4.2")
	w.does(0, "release")
	w.repo.Commit("v1.4.3", w.edition("1.4.3"))
	w.repo.Git("tag", "v1.4.3")
	cfg, err := clientcmd.LoadFromFile(g.kubeconfig)
	require.NoError(t, err)
	for _, env := range []string{"staging", "production"} {
		cfg.Contexts[env] = cfg.Contexts[cfg.CurrentContext]
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*cfg, file))
	w.env = append(w.env, "KUBECONFIG="+file)
	return w
}

// withoutConfiguration makes ~/src/joelclaw a clone that has no shipit.yaml yet.
func (w *walk) withoutConfiguration() {
	dir := filepath.Join(filepath.Dir(w.repo.Dir), "src", "joelclaw")
	w.repo.Git("clone", "-q", w.repo.Dir, dir)
	require.NoError(w.t, os.Remove(filepath.Join(dir, "shipit.yaml")))
}

// example runs one example, and returns its exit code and what it printed. What watches is
// interrupted when it has said something.
func (w *walk) example(call string) (int, string) {
	w.t.Helper()
	args, err := shlex.Split(call)
	require.NoError(w.t, err)
	home := filepath.Dir(w.repo.Dir)
	for i, a := range args {
		if i > 1 {
			args[i] = strings.NewReplacer("~/", home+"/", "DIR", filepath.Join(home, "cache"), "4f2a91c", w.sha["v1"][:7], "events.jsonl", filepath.Join(home, "events.jsonl")).Replace(a)
		}
		switch a {
		case "41", "151":
			args[i] = "1"
		case "42":
			args[i] = "2"
		}
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	path, err := exec.LookPath(args[0])
	require.NoError(w.t, err)
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out := &awaited{}
	if strings.Contains(call, "--watch") {
		out.text, out.seen = "in parity", cancel
	}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.repo.Dir, w.env, out, out
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.all.String()
}
