package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
)

// shop is an app of a namespace of its own, shipped by commands.
type shop struct {
	t    *testing.T
	g    ground
	repo *sample.Repo
	env  []string
	sha  map[string]string // commits by name
}

func (g ground) shop(t *testing.T, name string) *shop {
	t.Helper()
	ctx := t.Context()
	_, err := g.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
	home := t.TempDir()
	s := &shop{t: t, g: g, sha: map[string]string{}}
	s.repo = sample.New(t, sample.Options{Dir: filepath.Join(home, "repo"), Registry: g.registry, Base: g.base})
	text := strings.ReplaceAll(s.repo.Read("shipit.yaml"), "namespace: busrig", "namespace: "+name)
	text = strings.ReplaceAll(text, g.registry+"/busrig/", g.registry+"/"+name+"/")
	text = strings.Replace(text, "app: system-bus\n", "app: "+name+"\n", 1)
	// No pod here crashes after it was ready: none need be waited for.
	text = strings.ReplaceAll(text, "    kubernetes:", "    stable: 1ms\n    kubernetes:")
	s.sha["v1"] = s.repo.Commit("v1", map[string]string{"shipit.yaml": text})
	s.sha["v2"] = s.repo.Commit("v2", map[string]string{"packages/system-bus/src/serve.ts": s.repo.Read("packages/system-bus/src/serve.ts") + "\n// second edition\n"})
	s.sha["broken"] = s.repo.Commit("broken", map[string]string{"shipit.yaml": strings.Replace(text, `FIXTURE_FAULT: ""`, "FIXTURE_FAULT: crash-on-boot", 1)})
	s.env = append(os.Environ(), "KUBECONFIG="+g.kubeconfig, "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, ".cache"))
	return s
}

// command is shipit with these words, in a process group of its own: when a parent of
// the tests ends, the kernel wakes the stopped processes of the group that it leaves.
func (s *shop) command(env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	path, err := exec.LookPath("shipit")
	require.NoError(s.t, err)
	cmd := exec.Command(path, append([]string{"-C", filepath.Join(s.repo.Dir), "--timeout", "3m"}, args...)...)
	said := &bytes.Buffer{}
	cmd.Env, cmd.Stderr = append(s.env, env...), said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, said
}

// does runs shipit and demands its exit code; it returns what it printed.
func (s *shop) does(code int, args ...string) string {
	s.t.Helper()
	cmd, said := s.command(nil, args...)
	out, err := cmd.Output()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		require.NoError(s.t, err)
	}
	require.Equal(s.t, code, got, "shipit %s\n%s\n%s", strings.Join(args, " "), said, out)
	return string(out)
}

// writes are what a command writes, in order.
func (s *shop) writes(code int, args ...string) []string {
	s.t.Helper()
	list := filepath.Join(s.t.TempDir(), "writes")
	env := s.env
	s.env = append(s.env, envWrites+"="+list)
	s.does(code, args...)
	s.env = env
	text, err := os.ReadFile(list)
	require.NoError(s.t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// named puts commits in place of their names.
func (s *shop) named(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; s.sha[a] != "" {
			out[i] = s.sha[a]
		}
	}
	return out
}

func (s *shop) records() []release.Record {
	s.t.Helper()
	var doc struct{ Records []release.Record }
	require.NoError(s.t, json.Unmarshal([]byte(s.does(0, "history", "-o", "json")), &doc))
	return doc.Records
}

func (s *shop) newest() release.Record {
	s.t.Helper()
	all := s.records()
	require.NotEmpty(s.t, all)
	return all[0]
}
