// Command dagger builds an image of a monorepo in the engine of a client of its own, as a
// step of a pipeline would, and uses it there before anything is pushed:
//
//	go run ./examples/dagger REPOSITORY IMAGE
//
// It prints the image's reference, what it starts, and the files that shipit put in.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/registry"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: dagger REPOSITORY IMAGE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, repository, name string) error {
	client, err := dagger.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()

	// The inputs are those of a commit, and so is the configuration.
	source, err := git.Open(ctx, repository, "HEAD", config.File)
	if err != nil {
		return err
	}
	defer source.Close()
	text, err := source.ReadFile(ctx, config.File)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(config.File, text, "")
	if err != nil {
		return err
	}
	inputs, err := pipeline.Resolve(ctx, source, cfg, name)
	if err != nil {
		return err
	}

	publisher := pipeline.Publisher{Registry: registry.New(registry.Options{})}
	built, err := publisher.BuildIn(ctx, client, inputs)
	if err != nil {
		return err
	}
	fmt.Println(built.Image.Reference)

	// The image is a container of the client, to start, to extend or to bind as a service,
	// and what shipit put on its base is a folder.
	starts, err := built.Container("").Entrypoint(ctx)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(starts, " "))
	files, err := built.Directory("").Glob(ctx, "**/*")
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(files, "\n"))
	return nil
}
