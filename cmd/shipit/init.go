package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/scaffold"
)

type initOptions struct {
	*globals
	force bool
}

func newInit(g *globals) *cobra.Command {
	o := &initOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a shipit.yaml for the repository",
		Long: `Reads the repository's packages and Kubernetes manifests and writes a shipit.yaml for
them. What it cannot know (above all the digest of the base image) is marked for you to
fill in; shipit check says what is missing.`,
		Example: `  shipit init
  shipit init -C ~/src/joelclaw`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "overwrite an existing shipit.yaml")
	return cmd
}

func (o *initOptions) run(ctx context.Context) error {
	path := filepath.Join(o.dir, config.File)
	if _, err := os.Stat(path); err == nil && !o.force {
		return &exitError{code: exitRefused, msg: path + " exists already", hint: "shipit init --force overwrites it"}
	}
	repo, err := scaffold.Read(ctx, o.dir)
	if err != nil {
		return deploy.Unchanged(err)
	}
	text := repo.YAML()
	if _, err := config.Parse(path, []byte(text), ""); err != nil {
		return fmt.Errorf("the generated configuration does not parse: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	doc := struct {
		File  string   `json:"file"`
		App   string   `json:"app"`
		Roles []string `json:"roles"`
	}{path, repo.App(), repo.Roles()}
	fmt.Fprintf(o.term.err, "✓ wrote %s: %s\n  → fill in the digest of the base image, commit it, then shipit check\n", path, repo.Summary())
	return o.result(doc, func(w io.Writer) { fmt.Fprintln(w, path) })
}
