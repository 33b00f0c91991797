package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/manifests"
)

func newRBAC(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "rbac [REV]",
		Short: "Print the minimal RBAC roles for shipit",
		Long: `Prints, as YAML, the Kubernetes Roles (and a ClusterRole if a role has cluster-wide
objects) that suffice for release, rollback and status of REV (default HEAD), and no more.`,
		Example: `  shipit rbac | kubectl apply -f -
  shipit rbac v1.4.2 > rbac.yaml`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.rbac(cmd.Context(), argOr(args, "HEAD"))
		},
	}
}

func (g *globals) rbac(ctx context.Context, rev string) error {
	t, err := openCommit(ctx, g, rev)
	if err != nil {
		return err
	}
	defer t.Close()
	rel, err := manifests.Complete(manifests.Placeholder(t.cfg), t.cfg, t.source.Files(ctx))
	if err != nil {
		return deploy.Unchanged(err)
	}
	text, err := kube.MinimalRBAC(t.cfg, t.kubeOptions(), rel)
	if err != nil {
		return deploy.Unchanged(err)
	}
	return g.result(string(text), func(w io.Writer) { _, _ = w.Write(text) })
}
