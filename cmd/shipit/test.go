package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/release"
)

type testOptions struct {
	*globals
	rev   string
	image string
	cache string
}

// testResult is what `test -o json` prints.
type testResult struct {
	App     string                 `json:"app"`
	SHA     string                 `json:"sha"`
	Version string                 `json:"version"`
	Images  []pipeline.TestedImage `json:"images"`
	buildFailure
}

func newTest(g *globals) *cobra.Command {
	o := &testOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "test [REV]",
		Short: "Run the tests of the images, and nothing else",
		Long: `Runs the test commands of every image of the commit REV (default HEAD), on the files that
its run commands leave and beside its services, as a build does. No image is made and
nothing is pushed. A test that fails in one image hides none of another.`,
		Example: `  shipit test                        of HEAD
  shipit test v1.4.2 --image worker  of one image of a tag
  shipit test -o json | jq '.images[].tests[] | select(.outcome != "passed")'`,
		Args: atMost(1),
		RunE: onRevision(&o.rev, o.run),
	}
	cmd.Flags().StringVar(&o.image, "image", "", "run only the tests of the image `NAME`")
	cmd.Flags().StringVar(&o.cache, "cache", "", "store package stores in `DIR` (default: shipit in the user's cache folder)")
	return cmd
}

func (o *testOptions) run(ctx context.Context) error {
	s, err := openCommit(ctx, o.globals, o.rev)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.narrow(o.image, ""); err != nil {
		return err
	}
	images, err := s.publisher(buildFlags{cache: o.cache}, nil).TestImages(ctx, pipeline.Commit{Source: s.source, Config: s.cfg})
	res := testResult{App: s.cfg.App, SHA: s.source.SHA, Version: s.version, Images: images}
	if err == nil {
		return o.result(res, res.write)
	}
	err = deploy.Unchanged(err)
	if o.output == "json" {
		res.buildFailure = failureOf(ctx, err)
		return errors.Join(o.result(res, nil), &printedError{err})
	}
	res.write(o.term.out)
	return err
}

// write prints one line for each test.
func (r testResult) write(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, image := range r.Images {
		for _, t := range image.Tests {
			name := image.Name
			if t.Platform != "" {
				name += " " + t.Platform
			}
			took := release.Took(time.Duration(t.Seconds * float64(time.Second)))
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", t.Outcome, name, took, strings.Join(t.Command, " "))
		}
	}
	_ = table.Flush() // if stdout is broken, nothing is left to report it to
}
