// Deploys a git commit of a monorepo, and verifies that it runs.
//
// The functions are commands of shipit: each runs the program in a container that is
// connected to the engine, so that images are built in this engine as `shipit build`
// builds them, with the same digests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dagger/shipit/internal/dagger"
)

// golang has Go, git and an SSH client.
const golang = "docker.io/library/golang:1.26.1-bookworm"

// Shipit runs shipit with the secrets that it was given.
type Shipit struct {
	// +private
	Container *dagger.Container // with the program, the caches and the secrets
}

func New(
	// The source of shipit.
	// +defaultPath="/"
	// +ignore=[".git", ".github", ".dagger", "bench", "docs", "tools", "**/testdata", "**/*_test.go"]
	code *dagger.Directory,
	// A shipit program for Linux, instead of one that is compiled from its source.
	// +optional
	program *dagger.File,
	// What it runs in, best by digest: git and, where roles run on machines, an SSH client; Go, if there is no program.
	// +optional
	base *dagger.Container,
) *Shipit {
	if base == nil {
		base = dag.Container().From(golang)
	}
	if program == nil {
		program = compiled(base, code)
	}
	return &Shipit{base.
		WithFile("/usr/local/bin/shipit", program, dagger.ContainerWithFileOpts{Permissions: 0o755}).
		WithMountedCache("/root/.cache/shipit", dag.CacheVolume("shipit")).
		WithEnvVariable("HOME", "/root").
		// The repository belongs to whoever called.
		WithEnvVariable("GIT_CONFIG_COUNT", "1").WithEnvVariable("GIT_CONFIG_KEY_0", "safe.directory").WithEnvVariable("GIT_CONFIG_VALUE_0", "*").
		WithWorkdir(repository)}
}

// repository is where the caller's repository is.
const repository = "/repository"

// compiled is the program of a source of shipit.
func compiled(golang *dagger.Container, code *dagger.Directory) *dagger.File {
	return golang.
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("shipit-go-modules")).
		WithMountedCache("/root/.cache/go-build", dag.CacheVolume("shipit-go-build")).
		WithDirectory("/shipit", code).WithWorkdir("/shipit").
		WithEnvVariable("CGO_ENABLED", "0").
		WithExec([]string{
			"go", "build", "-trimpath", "-buildvcs=false", "-tags=kustomize_disable_go_plugin_support,grpcnotrace", "-ldflags=-s -w", "-o", "/usr/local/bin/shipit", "./cmd/shipit",
		}).
		File("/usr/local/bin/shipit")
}

// Sets a variable from a secret, such as one that images.*.secrets names.
func (m *Shipit) WithSecretVariable(name string, value *dagger.Secret) *Shipit {
	return &Shipit{m.Container.WithSecretVariable(name, value)}
}

// Puts a secret into a file, such as an SSH key or the key that signs. Relative paths start in the repository.
func (m *Shipit) WithSecretFile(path string, content *dagger.Secret) *Shipit {
	return &Shipit{m.Container.WithMountedSecret(path, content)}
}

// Gives access to registries, by a config.json of Docker.
func (m *Shipit) WithRegistryConfig(config *dagger.Secret) *Shipit {
	return m.WithSecretFile("/root/.docker/config.json", config)
}

// Gives access to clusters.
func (m *Shipit) WithKubeconfig(config *dagger.Secret) *Shipit {
	return m.WithSecretFile("/root/.kube/config", config)
}

// Gives access to machines, by an SSH agent.
func (m *Shipit) WithSSHAgent(socket *dagger.Socket) *Shipit {
	return &Shipit{m.Container.WithUnixSocket("/run/ssh-agent", socket).WithEnvVariable("SSH_AUTH_SOCK", "/run/ssh-agent")}
}

// Builds and pushes the images, and returns one digest reference for each.
//
// +cache="never"
func (m *Shipit) Build(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The revision.
	// +default="HEAD"
	rev string,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// Only this image.
	// +optional
	image string,
	// Pushes nothing.
	// +optional
	noPush bool,
) ([]string, error) {
	args := []string{"build", rev, "-o", "json"}
	if image != "" {
		args = append(args, "--image", image)
	}
	if noPush {
		args = append(args, "--no-push")
	}
	out, err := m.run(ctx, source, env, args)
	if err != nil {
		return nil, err
	}
	var built struct {
		Images []struct{ Reference string }
	}
	if err := json.Unmarshal([]byte(out), &built); err != nil {
		return nil, fmt.Errorf("read what shipit build printed: %w", err)
	}
	var references []string
	for _, i := range built.Images {
		references = append(references, i.Reference)
	}
	return references, nil
}

// Runs the tests of the images, and nothing else.
//
// +cache="never"
func (m *Shipit) Test(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The revision.
	// +default="HEAD"
	rev string,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// Only those of this image.
	// +optional
	image string,
	// One JSON document instead of text.
	// +optional
	asJSON bool,
) (string, error) {
	args := []string{"test", rev}
	if image != "" {
		args = append(args, "--image", image)
	}
	return m.run(ctx, source, env, output(args, asJSON))
}

// Tells what a release would change, and what would stop it.
//
// +cache="never"
func (m *Shipit) Plan(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The revision.
	// +default="HEAD"
	rev string,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// One JSON document instead of text.
	// +optional
	asJSON bool,
) (string, error) {
	return m.run(ctx, source, env, output([]string{"plan", rev}, asJSON))
}

// Builds, pushes, signs, rolls out, waits, verifies and records a commit.
//
// +cache="never"
func (m *Shipit) Release(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The revision.
	// +default="HEAD"
	rev string,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// Codes of findings that are allowed.
	// +optional
	allow []string,
	// One JSON document instead of text.
	// +optional
	asJSON bool,
) (string, error) {
	args := []string{"release", rev}
	for _, code := range allow {
		args = append(args, "--allow", code)
	}
	return m.run(ctx, source, env, output(args, asJSON))
}

// Rolls back to an earlier good release, the newest without a name.
//
// +cache="never"
func (m *Shipit) Rollback(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The release, by revision, sequence number or version.
	// +optional
	to string,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// One JSON document instead of text.
	// +optional
	asJSON bool,
) (string, error) {
	args := []string{"rollback"}
	if to != "" {
		args = append(args, "--to", to)
	}
	return m.run(ctx, source, env, output(args, asJSON))
}

// Tells what runs, beside what was recorded. What differs is an error.
//
// +cache="never"
func (m *Shipit) Status(
	ctx context.Context,
	// The repository, with .git and shipit.yaml.
	// +ignore=["**/node_modules"]
	source *dagger.Directory,
	// The settings of environments.NAME lie over the rest.
	// +optional
	env string,
	// One JSON document instead of text.
	// +optional
	asJSON bool,
) (string, error) {
	return m.run(ctx, source, env, output([]string{"status"}, asJSON))
}

func output(args []string, asJSON bool) []string {
	if asJSON {
		return append(args, "-o", "json")
	}
	return args
}

// run runs one command of shipit and returns what it prints. Each call runs it: what it
// answers depends on more than the engine knows.
func (m *Shipit) run(ctx context.Context, source *dagger.Directory, env string, args []string) (string, error) {
	if env != "" {
		args = append(args, "--env", env)
	}
	c := m.Container.
		WithMountedDirectory(repository, source).
		WithEnvVariable("SHIPIT_CALLED", time.Now().String()).
		WithExec(append([]string{"shipit"}, args...), dagger.ContainerWithExecOpts{ExperimentalPrivilegedNesting: true, Expect: dagger.ReturnTypeAny})
	code, err := c.ExitCode(ctx)
	if err != nil {
		return "", err
	}
	out, err := c.Stdout(ctx)
	if err != nil || code == 0 {
		return out, err
	}
	said, err := c.Stderr(ctx)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return "", fmt.Errorf("shipit %s ended with exit code %d:\n%s%s", args[0], code, out, strings.Join(lines[max(0, len(lines)-tail):], "\n"))
}

// tail is how many of the last lines of a command that failed are told.
const tail = 30
