package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// terminal is where a command writes: results to out, everything for humans to err.
type terminal struct{ out, err io.Writer }

// globals are the settings that every command takes.
type globals struct {
	dir        string
	config     string
	env        string
	kubeconfig string
	context    string
	output     string
	events     string
	timeout    time.Duration
	term       terminal

	notified notified       // who is told of a release, rollback or promotion
	partial  release.Record // what is known of the result, printed if the command fails before it has one
}

// file is the configuration file that --config names, or def; in DIR.
func (g *globals) file(def string) string {
	name := cmp.Or(g.config, def)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(g.dir, name)
}

// diskFile is the configuration file that --config names, or the one that is found from DIR.
func (g *globals) diskFile() string {
	if g.config != "" {
		return g.file("")
	}
	return config.Find(g.dir)
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, term terminal) int {
	g := &globals{term: term}
	root := newRoot(g)
	root.SetArgs(args)
	root.SetOut(term.out)
	root.SetErr(term.err)
	end := func(error) {}
	if !completes(args) {
		named, _, _ := root.Find(args) // the root for one that is not known
		ctx, end = traced(ctx, named.CommandPath(), term)
	}
	cmd, err := root.ExecuteContextC(ctx)
	code := g.reportError(ctx, cmd, err)
	for _, line := range g.notified.Close() {
		fmt.Fprintf(term.err, "· %s\n", line)
	}
	end(err)
	return code
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "shipit",
		Short: "Deploy a git commit and verify that it runs",
		Long: `shipit deploys a git commit of a monorepo to clusters and hosts, verifies that it
runs there, and rolls it back.`,
		Example: `  shipit init                 write a shipit.yaml for the repository
  shipit plan                 what a release of HEAD would change, and what would stop it
  shipit release              build, push, apply, wait, verify, record
  shipit status               recorded, wanted and live digests, role by role
  shipit rollback             roll back to the previous good release`,
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if g.output != "text" && g.output != "json" {
				return &usageError{fmt.Sprintf("-o %q: must be text or json", g.output)}
			}
			if _, err := os.Stat(g.dir + "/."); err != nil {
				return &usageError{fmt.Sprintf("-C %s: %v", g.dir, errors.Unwrap(err))}
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&g.dir, "dir", "C", ".", "run as if started in `DIR`")
	flags.StringVar(&g.config, "config", "", "configuration `FILE` (default: shipit.yaml of the commit, or of DIR where no commit is read)")
	flags.StringVar(&g.env, "env", "", "apply the settings of environments.`NAME` over the rest")
	flags.StringVar(&g.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&g.context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&g.output, "output", "o", "text", "text or json; json is one document on stdout")
	flags.StringVar(&g.events, "events", "", "append progress events to `FILE` as JSON lines")
	flags.DurationVar(&g.timeout, "timeout", 0, "time limit for one rollout (default: timeout in shipit.yaml, or 5m)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err.Error()} })
	root.AddCommand(
		newRelease(g), newRollback(g), newPromote(g), newPlan(g), newBuild(g), newTest(g), newRender(g), newStatus(g),
		newHistory(g), newVerify(g), newCheck(g), newInit(g), newRBAC(g), newWithdraw(g), newExplain(g), newDoctor(g), newCompletion(g), newReport(g),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	addExitCodes(root)
	g.addCompletions(root)
	return root
}

// atMost makes more than n arguments a usage error.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return &usageError{fmt.Sprintf("%s takes at most %d argument(s), got %q", cmd.CommandPath(), n, args)}
		}
		return nil
	}
}

// argOr is the first argument, or def.
func argOr(args []string, def string) string {
	if len(args) == 0 {
		return def
	}
	return args[0]
}

// onRevision runs a command whose one argument is a revision, HEAD by default.
func onRevision(rev *string, run func(context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		*rev = argOr(args, "HEAD")
		return run(cmd.Context())
	}
}

// sequence is the first argument as a sequence number; -1 if there is none.
func sequence(args []string) (int64, error) {
	if len(args) == 0 {
		return -1, nil
	}
	seq, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || seq < 0 {
		return 0, &usageError{fmt.Sprintf("%q is not a sequence number", args[0])}
	}
	return seq, nil
}

// version is the module's version as the Go toolchain recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// versionText is the version, the commit and the Go version that it was built by.
func versionText() string {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = release.Short(s.Value)
			case s.Key == "vcs.modified" && s.Value == "true":
				commit += ", changed since"
			}
		}
	}
	return fmt.Sprintf("%s (commit %s, %s)", version(), commit, runtime.Version())
}
