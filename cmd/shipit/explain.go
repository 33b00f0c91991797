package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/explain"
)

type explainOptions struct {
	*globals
	schema bool
}

func newExplain(g *globals) *cobra.Command {
	o := &explainOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "explain [KEY|CODE]",
		Short: "Say what a setting of shipit.yaml or a code means",
		Long: `Says what a setting of shipit.yaml is, with its default and an example, or what the
code of a finding or failure means and what to do. Without an argument it lists the
settings at the top of the file. --schema prints the JSON Schema of the file, for editors.`,
		Example: `  shipit explain images.worker.run
  shipit explain CrashLoop
  shipit explain roles.worker.kubernetes -o json | jq -r '.settings[].name'
  shipit explain --schema > shipit.schema.json`,
		Args: atMost(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return explain.Complete(begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return o.run(argOr(args, "")) },
	}
	cmd.Flags().BoolVar(&o.schema, "schema", false, "print the JSON Schema of shipit.yaml")
	return cmd
}

func (o *explainOptions) run(term string) error {
	if o.schema {
		schema, err := explain.Schema()
		if err != nil {
			return err
		}
		_, err = o.term.out.Write(schema)
		return err
	}
	answer, err := explain.Find(term)
	if err != nil {
		return err
	}
	return o.result(answer, func(w io.Writer) { answer.Write(w) })
}
