package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type buildOptions struct {
	*globals
	rev    string
	check  bool
	noPush bool
	image  string
	role   string
	buildFlags
}

// buildResult is what `build -o json` prints.
type buildResult struct {
	App     string           `json:"app"`
	SHA     string           `json:"sha"`
	Version string           `json:"version"`
	Images  []pipeline.Image `json:"images"`
	buildFailure
}

// buildFailure is what a build or tests that failed add to their document.
type buildFailure struct {
	Error    string            `json:"error,omitempty"`
	Hint     string            `json:"hint,omitempty"`
	Tail     []string          `json:"tail,omitempty"` // the last lines of the command that failed
	ExitCode int               `json:"exitCode,omitempty"`
	Findings []release.Finding `json:"findings,omitempty"`
}

func newBuild(g *globals) *cobra.Command {
	o := &buildOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "build [REV]",
		Short: "Build and push the images; print one digest reference a line",
		Long: `Builds every image of shipit.yaml from the commit REV (default HEAD) and pushes it
under its SHA tag. An image of the same inputs that is in the registry is not built again.
Standard output is one digest reference a line, so that $(shipit build) composes.`,
		Example: `  shipit build
  docker pull $(shipit build v1.4.2)
  shipit build --check-reproducible    build twice, cold and warm, and compare
  shipit build --no-push --cache DIR   one CI job runs the repository's commands, without push rights;
  shipit build --no-run --cache DIR    another pushes and signs, without running them`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	cmd.Flags().BoolVar(&o.check, "check-reproducible", false, "build twice, cold and warm, in different surroundings; name the first difference; push nothing")
	cmd.Flags().StringVar(&o.image, "image", "", "build only the image `NAME`")
	cmd.Flags().StringVar(&o.role, "role", "", "build only the image of `ROLE`")
	cmd.Flags().BoolVar(&o.noPush, "no-push", false, "build, store the layers in the cache, and push nothing")
	o.add(cmd.Flags())
	return cmd
}

func (o *buildOptions) run(ctx context.Context) error {
	s, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.narrow(o.image, o.role); err != nil {
		return err
	}
	step := pipeline.Publisher.Publish
	switch {
	case o.check:
		step = pipeline.Publisher.CheckReproducible
	case o.noPush:
		step = pipeline.Publisher.FindOrBuild
	}
	images, err := s.images(ctx, s.publisher(o.buildFlags, nil), step)
	if err != nil {
		return o.failed(ctx, s, deploy.Unchanged(err))
	}
	res := buildResult{App: s.cfg.App, SHA: s.source.SHA, Version: s.version}
	for _, name := range s.cfg.ImageNames() {
		res.Images = append(res.Images, images[name])
	}
	return o.result(res, func(w io.Writer) {
		if o.check || o.noPush {
			return // what was not pushed is no reference to run
		}
		for _, i := range res.Images {
			fmt.Fprintln(w, i.Reference)
		}
	})
}

// narrow leaves only the roles of the image, or of the role's image, that is asked for;
// "" asks for none.
func (t *commit) narrow(image, role string) error {
	name := image
	if r, ok := t.cfg.Role(role); ok {
		name = cmp.Or(name, r.Image)
	} else if role != "" {
		return &usageError{fmt.Sprintf("--role %q is not among roles", role)}
	}
	if name == "" {
		return nil
	}
	t.cfg.Roles = slices.DeleteFunc(slices.Clone(t.cfg.Roles), func(r config.Role) bool { return r.Image != name })
	if len(t.cfg.Roles) == 0 {
		return &usageError{fmt.Sprintf("--image %q is the image of no role", name)}
	}
	return nil
}

// failed prints the document of a build that failed, if a program reads it.
func (o *buildOptions) failed(ctx context.Context, s *commit, err error) error {
	if o.output != "json" {
		return err
	}
	res := buildResult{
		App: s.cfg.App, SHA: s.source.SHA, Version: s.version, Images: []pipeline.Image{}, buildFailure: failureOf(ctx, err),
	}
	return errors.Join(o.result(res, nil), &printedError{err})
}

// failureOf is what the document of a build or its tests says of an error.
func failureOf(ctx context.Context, err error) buildFailure {
	code := exitCode(ctx, err)
	f := buildFailure{Error: release.OneLine(err.Error()), Hint: hintFor(nil, err, code), ExitCode: code}
	var command *pipeline.CommandError
	if errors.As(err, &command) {
		f.Tail, f.Error = command.Tail, release.Visible(firstLine(err.Error()))
	}
	var refused *release.Refusal
	if errors.As(err, &refused) {
		f.Findings = refused.Findings
	}
	return f
}

type renderOptions struct {
	*globals
	rev  string
	role string
}

func newRender(g *globals) *cobra.Command {
	o := &renderOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "render [REV]",
		Short: "Print the objects of every role, as YAML",
		Long: `Prints what a release of REV (default HEAD) would apply: the Kubernetes objects and
service definitions of every role, images pinned by digest. Images that are not in the
registry are built to know their digests, and not pushed.`,
		Example: `  shipit render | kubectl diff -f -
  shipit render v1.4.2 --role cluster`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	cmd.Flags().StringVar(&o.role, "role", "", "only the objects of `ROLE`")
	return cmd
}

func (o *renderOptions) run(ctx context.Context) error {
	s, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, ok := s.cfg.Role(o.role); o.role != "" && !ok {
		return &usageError{fmt.Sprintf("--role %q is not among roles", o.role)}
	}
	images, err := s.images(ctx, s.publisher(buildFlags{}, nil), pipeline.Publisher.FindOrBuild)
	if err != nil {
		return deploy.Unchanged(err)
	}
	rel, err := s.release(ctx, images)
	if err != nil {
		return deploy.Unchanged(err)
	}
	var objects []json.RawMessage
	for _, role := range rel.Roles {
		if o.role == "" || o.role == role.Name {
			objects = append(objects, role.Objects...)
		}
	}
	return o.result(objects, func(w io.Writer) { _, _ = w.Write(manifests.YAML(objects)) })
}
