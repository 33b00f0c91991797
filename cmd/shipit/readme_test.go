package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// notTyped are the lines of README.md that TestReadme leaves out, and why.
var notTyped = map[string]string{
	"make demo": "TestTheDemo plays it",
	"make test": "this test is part of it",
}

// TestReadme types the blocks of README.md, line by line, as somebody would who has
// nothing but Go, git, npm and make: in an empty folder, with no other program on the
// PATH than these and those of POSIX. A clone of the address that the README gives is one
// of this repository's HEAD. Cached are Go's modules and compiled packages; ~/src/monorepo is a repository of
// npm workspaces and a kustomization, whose cluster and registry are those of the stories.
func TestReadme(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("there is no repository to clone: these are the files alone")
	}
	t.Log("cached: Go's modules and compiled packages")
	own := shared{options: simulatedNodes.options} // a story has an app of this name, too
	g := own.ground(t)
	home := t.TempDir()
	g.monorepo(t, filepath.Join(home, "src", "monorepo"))
	script := readmeScript(t)
	cmd := exec.Command("/bin/sh", "-exc", script)
	cmd.Dir = filepath.Join(home, "empty")
	require.NoError(t, os.Mkdir(cmd.Dir, 0o755))
	cmd.Env = newcomer(t, home, map[string]string{
		"KUBECONFIG": g.kubeconfig, "EDITOR": editor(t, home),
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url." + root + ".insteadOf", "GIT_CONFIG_VALUE_0": "https://github.com/joelhooks/shipit",
	})
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "release: settled, in parity")
}

// readmeScript are the lines of the README's blocks for a shell, in order.
func readmeScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var script strings.Builder
	left := map[string]bool{}
	for _, d := range commandsOf("README.md", string(text)) {
		line, _, _ := strings.Cut(d.line, "  #")
		line = strings.TrimSpace(line)
		switch {
		case d.block != "sh":
		case notTyped[line] != "":
			left[line] = true
			t.Run(line, func(t *testing.T) { t.Skip(notTyped[line]) })
		default:
			fmt.Fprintln(&script, line)
		}
	}
	require.Len(t, left, len(notTyped), "README.md has not all that is left out of it")
	return script.String()
}

// newcomer is the environment of somebody with a new home folder and few programs.
func newcomer(t *testing.T, home string, more map[string]string) []string {
	t.Helper()
	bin := filepath.Join(home, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	programs := strings.Fields("go git npm node make sh cat cp date dirname env expand expr grep head ls mkdir mktemp mv rm sed sort tail test touch tr uname wc")
	for _, program := range programs {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, program)))
	}
	env := []string{
		"HOME=" + home, "PATH=" + bin, "TMPDIR=" + t.TempDir(),
		"GIT_AUTHOR_NAME=new", "GIT_AUTHOR_EMAIL=new@example.com", "GIT_COMMITTER_NAME=new", "GIT_COMMITTER_EMAIL=new@example.com",
	}
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOROOT", "GOSUMDB", "GOTOOLCHAIN"} {
		value, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	for name, value := range more {
		env = append(env, name+"="+value)
	}
	return env
}

// monorepo makes the repository of the story first-hour, before shipit came.
func (g ground) monorepo(t *testing.T, dir string) {
	t.Helper()
	_, err := g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	story, err := txtar.ParseFile("testdata/stories/first-hour.txtar")
	require.NoError(t, err)
	at := map[string]string{}
	for _, line := range strings.Split(string(story.Comment), "\n") {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "cp" {
			at[strings.TrimPrefix(words[1], "$WORK/")] = words[2]
		}
	}
	fill := strings.NewReplacer("FROM BASE", "FROM "+g.base, "REGISTRY", g.registry+"/shop")
	for _, f := range story.Files {
		path := filepath.Join(dir, at[f.Name])
		require.NotEmpty(t, at[f.Name], "the story has no place for %s", f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(fill.Replace(string(f.Data))), 0o644))
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=new", "-c", "user.email=new@example.com", "commit", "-qm", "shop"}} {
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
}

// editor is a program that answers what shipit.yaml asks: the namespace, and nothing else.
func editor(t *testing.T, home string) string {
	t.Helper()
	path := filepath.Join(home, "editor")
	script := "#!/bin/sh\nsed -i.old -e 's/ *# TODO: the namespace.*//' -e 's/namespace: default/namespace: shop/' \"$1\"\n"
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}
