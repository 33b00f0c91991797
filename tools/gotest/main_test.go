package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const source = `package p

import ("fmt"; "testing")

func TestGood(t *testing.T) { t.Log("not shown"); fmt.Println("nor this") }
func TestAway(t *testing.T) { t.Skip("there is no", "machine") }
func TestParts(t *testing.T) {
	t.Run("one part", func(t *testing.T) { t.SkipNow() })
	t.Run("another", func(t *testing.T) { t.Log("not shown either") })
}
`

// module writes a Go module with one package of tests, and makes it the working directory.
func module(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.24\n"
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
}

func TestSkipsAreTold(t *testing.T) {
	t.Run("by name and reason, after the usual output", func(t *testing.T) {
		module(t, map[string]string{"p/p_test.go": source})
		var out, errs strings.Builder
		require.Zero(t, run([]string{"-count=1", "./p"}, &out, &errs), errs.String())
		require.Regexp(t, `^ok  	example.com/m/p	[0-9.]+s
\n2 skipped:
  example.com/m/p TestAway: p_test.go:6: there is no machine
  example.com/m/p TestParts/one_part: no reason given
$`, out.String())
	})
	t.Run("also when a test fails, whose output alone is shown, with go test's exit code", func(t *testing.T) {
		module(t, map[string]string{
			"p/p_test.go": source,
			"q/q_test.go": "package q\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Log(\"why\"); t.Run(\"deep\", func(t *testing.T) { t.Fatal(\"because\") }) }\nfunc TestFine(t *testing.T) { t.Log(\"hidden\") }\n",
		})
		var out, errs strings.Builder
		require.Equal(t, 1, run([]string{"-count=1", "./p", "--", "-count=1", "./q", "--", "./never"}, &out, &errs), errs.String())
		require.Contains(t, out.String(), "q_test.go:5: why\n")
		require.Contains(t, out.String(), "--- FAIL: TestBad/deep")
		require.Contains(t, out.String(), "q_test.go:5: because\n")
		require.Contains(t, out.String(), "FAIL	example.com/m/q")
		require.NotContains(t, out.String(), "hidden")
		require.NotContains(t, out.String(), "never")
		require.Contains(t, out.String(), "2 skipped:")
	})
	t.Run("what does not compile, and what panics, is shown", func(t *testing.T) {
		module(t, map[string]string{"p/p_test.go": "package p\n\nvar x int = \"text\"\n", "q/q_test.go": "package q\n\nimport \"testing\"\n\nfunc TestDies(t *testing.T) { panic(\"the end\") }\n"})
		var out, errs strings.Builder
		require.Equal(t, 1, run([]string{"-count=1", "./..."}, &out, &errs))
		require.Contains(t, out.String()+errs.String(), "cannot use \"text\"")
		require.Contains(t, out.String(), "panic: the end")
	})
}

// chancy is a package whose tests fail as long as a file is there, which the first that asks deletes.
const chancy = `package p

import ("os"; "testing")

func TestChance(t *testing.T) { t.Run("deep", func(t *testing.T) { if os.Remove("../once") == nil { t.Fatal("the first time") } }) }
func TestFine(t *testing.T) {}
`

func TestATestThatFailsIsRunOnceMoreAlone(t *testing.T) {
	t.Run("and named if it passes then", func(t *testing.T) {
		module(t, map[string]string{"p/p_test.go": chancy, "once": ""})
		var out, errs strings.Builder
		require.Zero(t, run([]string{"-count=1", "./p", "--", "-count=1", "-run", "Fine", "./p"}, &out, &errs), out.String()+errs.String())
		require.Contains(t, out.String(), "the first time")
		require.Contains(t, out.String(), "\n1 failed once, and passed when they were run again alone:\n  example.com/m/p TestChance\n")
		require.Equal(t, 2, strings.Count(out.String(), "ok  \texample.com/m/p"), "what was to be run after it was run")
	})
	bad := func(name string) string { return "func Test" + name + "(t *testing.T) { t.Fatal(\"no\") }\n" }
	for name, tests := range map[string]string{
		"but not if it fails again":     bad("A"),
		"nor where many fail":           bad("A") + bad("B") + bad("C") + bad("D"),
		"nor where another test dies":   bad("A") + "func TestB(t *testing.T) { t.Parallel(); panic(\"the end\") }\n",
		"nor where nothing is compiled": "var x int = \"text\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"p/p_test.go": "package p\n\nimport \"testing\"\n\n" + tests})
			var out, errs strings.Builder
			require.Equal(t, 1, run([]string{"-count=1", "./p"}, &out, &errs))
			require.NotContains(t, out.String(), "failed once")
			require.Equal(t, name == "but not if it fails again", strings.Contains(out.String(), "it is run once more"), out.String())
		})
	}
}

func TestACommandRunsBesideTheTests(t *testing.T) {
	// Each waits for the other: run one after the other, neither would end.
	const meets = `package p

import ("os"; "testing"; "time")

func TestMeets(t *testing.T) {
	os.WriteFile("../here", nil, 0o644)
	for range 600 {
		if _, err := os.Stat("../there"); err == nil { return }
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("nobody came")
}
`
	const command = `echo begun; until test -e here; do sleep 0.1; done; touch there; printf 'a line without an end'; exit `
	for name, c := range map[string]struct {
		tests, ends string
		code        int
	}{
		"and both pass": {meets, "0", 0},
		"and its exit code counts if the tests pass": {meets, "3", 3},
		"and that of the tests counts if they fail":  {meets + "func TestBad(t *testing.T) { t.Fatal(\"no\") }\n", "0", 1},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"p/p_test.go": c.tests})
			var out, errs strings.Builder
			require.Equal(t, c.code, run([]string{"-count=1", "./p", "--beside", "sh", "-c", command + c.ends, "--", "-count=1", "-run", "Nothing", "./p"}, &out, &errs), out.String()+errs.String())
			require.Contains(t, out.String(), "begun\n")
			require.Contains(t, out.String(), "a line without an end\n")
			require.Equal(t, c.code == 0, strings.Contains(out.String(), "no tests to run"), "the next run is for what passed")
		})
	}
	t.Run("and is to be named", func(t *testing.T) {
		module(t, map[string]string{"p/p_test.go": source})
		var out, errs strings.Builder
		require.Equal(t, 2, run([]string{"-count=1", "./p", "--beside"}, &out, &errs))
		require.Contains(t, errs.String(), "no command follows --beside")
		require.Contains(t, out.String(), "2 skipped:")
	})
}
