package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// leakRepo names the repository that TestBuildWithSecrets builds when the test
// program runs itself with secrets in its environment.
const leakRepo = "SHIPIT_TEST_LEAK_REPO"

func TestBuildWithSecrets(t *testing.T) {
	dir := os.Getenv(leakRepo)
	if dir == "" {
		t.Skip("runs only as a child of TestACommandOfABuildReadsNoSecretOfTheProcessesAroundIt")
	}
	HideEnvironment()
	require.Equal(t, "marked-password", os.Getenv("COSIGN_PASSWORD"), "the process itself still knows it")
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n' > packages/system-bus/seen; wc -c packages/system-bus/seen"}}
	opts := Options{Builder: "embedded", CacheDir: filepath.Join(dir, "..", "cache"), buildRoot: filepath.Join(dir, "..", "build"), shared: os.Getenv("SHIPIT_TEST_SHARED") != ""}
	b, err := Build(context.Background(), resolve(t, dir, img), opts)
	require.NoError(t, err)
	fmt.Printf("seen=%q\n", fileOf(t, b, "app/packages/system-bus/seen"))
}

func TestACommandOfABuildReadsNoSecretOfTheProcessesAroundIt(t *testing.T) {
	for name, tt := range map[string]struct {
		shared string // "1": as where no process table of its own can be made
		shell  bool   // a shell with the same environment stands above, as a step of CI has it
	}{
		"in the process table of the machine": {"1", false},
		"in a process table of its own":       {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.shell && !isolates(t.Context()) {
				t.Skip("this machine lets nobody make a process table of its own")
			}
			r := sample.New(t, sample.Options{Dir: filepath.Join(t.TempDir(), "repo")})
			args := []string{os.Args[0], "-test.run=^TestBuildWithSecrets$", "-test.v"}
			if tt.shell {
				args = append([]string{"sh", "-c", `"$@"; exit $?`, "sh"}, args...)
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), leakRepo+"="+r.Dir, "SHIPIT_TEST_SHARED="+tt.shared,
				"COSIGN_PASSWORD=marked-password", "GITHUB_TOKEN=marked-token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=marked-oidc")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "seen=", "%s", out)
			require.NotContains(t, string(out), "marked-")
		})
	}
}
