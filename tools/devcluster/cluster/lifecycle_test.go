package cluster_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// temporary asks for a cluster without a folder of its own.
const temporary = "temporary"

// TestMain lets the test binary be a process that has a cluster and is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SHIPIT_TEST_OWN_CLUSTER"); dir != "" {
		if dir == temporary {
			dir = ""
		}
		c, err := cluster.Up(context.Background(), cluster.Options{Dir: dir, Real: os.Getenv("SHIPIT_TEST_REAL") != ""})
		if err != nil {
			os.Stdout.WriteString("error: " + err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(c.Kubeconfig + "\n")
		select {}
	}
	os.Exit(m.Run())
}

// killedUp brings a cluster up in dir from another process, kills that, and
// gives the folder of the cluster.
func killedUp(t *testing.T, dir string, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "SHIPIT_TEST_OWN_CLUSTER="+dir), env...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NotContains(t, line, "error:")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return filepath.Dir(filepath.Dir(strings.TrimSpace(line)))
}

// processesOf lists the command lines that name dir.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), dir) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func address(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	text, err := os.ReadFile(c.Kubeconfig)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), `server: "https://`)
	require.True(t, ok)
	addr, _, _ := strings.Cut(rest, `"`)
	return addr
}

func TestTwoClustersAtOnceKnowNothingOfEachOther(t *testing.T) {
	t.Parallel()
	one, two := up(t, cluster.Options{}), up(t, cluster.Options{})
	deploy(t, client(t, one), "demo", 1, pod("demo", container(pinned)))
	awaitPods(t, client(t, one), "demo", allReady(1))
	list, err := client(t, two).AppsV1().Deployments("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, list.Items)
}

func TestDownRemovesWhatUpMade(t *testing.T) {
	for _, c := range []struct {
		sentence string
		existing bool
	}{
		{"a folder that was not there is gone again", false},
		{"a folder that was there keeps what is not ours", true},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cluster")
			if c.existing {
				require.NoError(t, os.Mkdir(dir, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644))
			}
			k, err := cluster.Up(t.Context(), cluster.Options{Dir: dir})
			require.NoError(t, err)
			addr := address(t, k)
			require.NotEmpty(t, processesOf(t, dir))
			_, err = cluster.Up(t.Context(), cluster.Options{Dir: dir})
			require.ErrorContains(t, err, "in use by a cluster of process")

			require.NoError(t, k.Down(context.Background()))
			require.Empty(t, processesOf(t, dir))
			_, err = net.Dial("tcp", addr)
			require.Error(t, err)
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			if c.existing {
				require.Equal(t, []string{filepath.Join(dir, "mine")}, left)
			} else {
				require.NoDirExists(t, dir)
			}
		})
	}
}

func TestAKilledUpIsCleanedUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sentence string
		clean    func(t *testing.T, dir string)
	}{
		{"by the next up", func(t *testing.T, dir string) {
			k, err := cluster.Up(t.Context(), cluster.Options{Dir: dir})
			require.NoError(t, err)
			list, err := client(t, k).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			require.Len(t, list.Items, 1)
			require.NoError(t, k.Down(context.Background()))
		}},
		{"by down", func(t *testing.T, dir string) { require.NoError(t, cluster.Remove(t.Context(), dir)) }},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			dir := killedUp(t, filepath.Join(t.TempDir(), "cluster"))
			require.Eventually(t, func() bool { return len(processesOf(t, dir)) == 0 }, time.Minute, 20*time.Millisecond,
				"its processes die with it")
			c.clean(t, dir)
			require.NoDirExists(t, dir)
		})
	}
}

func TestAKilledUpInATemporaryFolderIsCleanedUpByTheNextInAnother(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	left := killedUp(t, temporary)
	require.DirExists(t, left)
	c := up(t, cluster.Options{})
	require.NoDirExists(t, left)
	require.NotEqual(t, left, c.Dir())
}
