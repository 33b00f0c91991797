package main

import (
	"context"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/completion"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

func newCompletion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands in a shell",
		Long: `Prints the script that makes a shell complete commands, flags, roles, environments,
settings, codes, and releases (newest first, with SHA and version).`,
		Example: `  source <(shipit completion bash)                                     this shell; in ~/.bashrc every one
  shipit completion zsh > "${fpath[1]}/_shipit"                         zsh, from its next start on
  shipit completion fish > ~/.config/fish/completions/shipit.fish       fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || cobra.OnlyValidArgs(cmd, args) != nil {
				return &usageError{"completion takes one of bash, zsh and fish"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(g.term.out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(g.term.out)
			default:
				return cmd.Root().GenFishCompletion(g.term.out, true)
			}
		},
	}
}

// completes reports whether the arguments are those by which a shell asks for completions.
func completes(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// suggest makes a completion of what words gives for the word that has been begun,
// unless most arguments or more stand before it.
func suggest(most int, words func(ctx context.Context, begun string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if len(args) >= most {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
		defer cancel()
		return words(ctx, begun), directive
	}
}

// ofFlag is the number of arguments that the value of a flag may follow.
const ofFlag = math.MaxInt

// completionLimit is how long a shell is made to wait for a suggestion.
const completionLimit = 3 * time.Second

// addCompletions adds what the flags and arguments of the commands are completed with.
func (g *globals) addCompletions(root *cobra.Command) {
	argument := map[string]func(context.Context, string) []string{
		"history": g.completeSequences, "verify": g.completeSequences, "withdraw": g.completeSequences,
		"promote": g.completeEnvironments,
	}
	flag := map[string]map[string]func(context.Context, string) []string{
		"rollback": {"to": g.completeGood}, "render": {"role": g.completeRoles}, "build": {"role": g.completeRoles},
	}
	for _, c := range root.Commands() {
		if words := argument[c.Name()]; words != nil {
			most := 1
			if c.Name() == "promote" {
				most = 2
			}
			c.ValidArgsFunction = suggest(most, words)
		}
		for name, words := range flag[c.Name()] {
			completeFlag(c, name, suggest(ofFlag, words))
		}
		if c.Flags().Lookup("allow") != nil {
			completeFlag(c, "allow", suggest(ofFlag, func(_ context.Context, begun string) []string { return completion.Allowable(begun) }))
		}
	}
	completeFlag(root, "env", suggest(ofFlag, g.completeEnvironments))
	completeFlag(root, "output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// completeFlag panics for a flag that the command does not have.
func completeFlag(c *cobra.Command, name string, words cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(name, words); err != nil {
		panic(err)
	}
}

func (g *globals) completeRoles(_ context.Context, begun string) []string {
	cfg, _ := config.Load(g.diskFile(), g.env) // without one there is nothing to suggest
	return completion.Roles(cfg, begun)
}

func (g *globals) completeEnvironments(_ context.Context, begun string) []string {
	cfg, _ := config.Load(g.diskFile(), "")
	return completion.Environments(cfg, begun)
}

func (g *globals) completeSequences(ctx context.Context, begun string) []string {
	return completion.Sequences(g.newestRecords(ctx), begun, time.Now())
}

func (g *globals) completeGood(ctx context.Context, begun string) []string {
	return completion.Good(g.newestRecords(ctx), begun, time.Now())
}

// newestRecords are the newest records; none if they cannot be read: a shell has no
// place for an error.
func (g *globals) newestRecords(ctx context.Context) []release.Record {
	quiet := *g
	quiet.term.err = io.Discard
	s, err := openFromDisk(ctx, &quiet, true)
	if err != nil {
		return nil
	}
	defer s.Close()
	records, _ := s.Ledger.List(ctx, historyPage, 0)
	return records
}
