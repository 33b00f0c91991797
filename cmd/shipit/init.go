package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/registry"
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
		Long: `Reads what deploys the repository today and writes a shipit.yaml that does the same:
images and manifests, launchd jobs and systemd units, Dockerfiles, workflows and the
repository's own validators. A comment beside each value says where it was found; a
line with TODO asks for what only you know, and shipit check lists those lines.`,
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
	draft, err := scaffold.Read(ctx, os.DirFS(o.dir), scaffold.Options{Origin: git.Origin(ctx, o.dir), Digest: digestOf})
	if err != nil {
		return deploy.Unchanged(err)
	}
	if _, err := config.Parse(path, []byte(draft.YAML), ""); err != nil {
		return fmt.Errorf("the generated configuration does not parse: %w", err)
	}
	if err := os.WriteFile(path, []byte(draft.YAML), 0o644); err != nil {
		return err
	}
	doc := struct {
		File    string   `json:"file"`
		App     string   `json:"app"`
		Roles   []string `json:"roles"`
		Todos   []string `json:"todos"`
		LeftOut []string `json:"leftOut"` // packages that nothing deploys
	}{path, draft.App, draft.Roles, append([]string{}, draft.Todos...), append([]string{}, draft.LeftOut...)}
	fmt.Fprintf(o.term.err, "✓ wrote %s: %s\n", path, strings.Join(draft.Roles, ", "))
	if len(draft.LeftOut) > 0 {
		fmt.Fprintf(o.term.err, "· nothing deploys %s\n", strings.Join(draft.LeftOut, ", "))
	}
	for _, todo := range draft.Todos {
		fmt.Fprintf(o.term.err, "· TODO: %s\n", todo)
	}
	fmt.Fprintf(o.term.err, "  → answer the lines with TODO, commit it, then shipit check\n")
	return o.result(doc, func(w io.Writer) { fmt.Fprintln(w, path) })
}

// digestOf asks a registry for the digest of an image.
func digestOf(ctx context.Context, ref string) (string, error) {
	digest, _, err := registry.New(registry.Options{}).Find(ctx, ref)
	return digest, err
}
