// Package pipeline turns a commit into an image in a registry: Resolve determines
// the inputs from the commit and their hash (the key), Build makes the image, and a
// Publisher pushes, signs and tags it.
//
// The same inputs give the same bytes, in any folder, at any time, by any user,
// with either builder. So images contain no commit SHA, no timestamp and no machine
// path.
package pipeline

import (
	"context"
	"fmt"
	"time"

	"dagger.io/dagger"
	"dagger.io/dagger/engineconn"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/proof"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// Inputs are everything that an image is made of, and nothing else.
type Inputs struct {
	Source    git.Source
	Name      string // of the image in shipit.yaml
	Image     config.Image
	SourceURL string // for the label org.opencontainers.image.source; may be ""
	Closure   workspace.Closure
	Key       string // 64 hex digits: equal keys give equal images

	app     string
	scripts []string      // files from the root whose imports must resolve
	roles   []config.Role // those of a cluster that run the image
	aim     *aim          // of installs; nil for the machine on which they run
	shared  []string      // function ids that may have several owners
}

// Resolve determines the inputs of the image called name. Inputs from which no
// image can be built are a *release.Refusal.
func Resolve(ctx context.Context, s git.Source, cfg config.Config, name string) (Inputs, error) {
	img, ok := cfg.Images[name]
	if !ok {
		return Inputs{}, fmt.Errorf("image %s: not in %s", name, cfg.Path)
	}
	c, err := workspace.NewInstallable(ctx, s, img)
	if err != nil {
		return Inputs{}, fmt.Errorf("image %s: %w", name, err)
	}
	in := Inputs{Source: s, Name: name, Image: img, SourceURL: cfg.Source, Closure: c, app: cfg.App}
	in.scripts, in.shared = proof.Scripts(cfg, name, c.Package), cfg.Functions.AllowDuplicates
	for _, r := range cfg.Roles {
		if r.Image == name && r.Kubernetes != nil {
			in.roles = append(in.roles, r)
		}
	}
	in.Key = key(in)
	return in, nil
}

// Built is an image that can be pushed.
type Built struct {
	Name      string
	Key       string
	Artifact  Artifact // v1.Image for one platform, v1.ImageIndex for several
	Digest    string   // sha256:… of Artifact
	Aliases   []string // other digests that a runtime may report for it: platform manifests and configs
	Platforms []string // os/arch, sorted
	Builder   string   // dagger or embedded; for a build found in the cache, the one that made it
	Cached    bool     // nothing was built: the layers for this key were in the cache
}

// Options are what a build may need beyond its inputs.
type Options struct {
	// Base fetches an image reference pinned by digest. Unused for "scratch".
	Base func(ctx context.Context, ref string) (Artifact, error)
	// Builder is auto, dagger or embedded; "" is auto.
	Builder string
	// Client is connected to the engine that builds, whatever Builder is; it is not
	// closed. What a command prints is told when it has ended, because only a connection of
	// shipit's own is followed while it runs. nil finds an engine.
	Client *dagger.Client
	// CacheDir holds layers and package stores; "" is shipit in the user's cache folder.
	CacheDir string
	// NoCache builds without reading layers or package stores of earlier builds.
	NoCache bool
	// NoRun refuses a build that would run a command of the repository, with a
	// *NotBuiltError. Layers in CacheDir are used.
	NoRun bool
	// Progress is called by one goroutine at a time in one build. nil is silent.
	Progress release.Progress

	buildRoot string                // folder in which commands run; "" is the constant buildRoot
	unproven  bool                  // no proof, because the result is only compared
	rebuild   bool                  // layers of earlier builds are not read; package stores are
	stores    string                // folder of package stores; "" is the one in CacheDir
	around    around                // varied for one build of a comparison
	shared    bool                  // commands run in the PID namespace of shipit
	conn      engineconn.EngineConn // to a fake engine, in tests
	drain     time.Duration         // of a Dagger session; 0 is the default
	rootfs    string                // folder that stands for the toolchain in an engine, in tests
	silence   time.Duration         // after which a silent command is named; 0 is the default
}

// cold reports whether an engine may use nothing of its cache. The cache holds the
// results of commands, so with it a rebuild would not run them.
func (o Options) cold() bool { return o.NoCache || o.rebuild }

func (o Options) report(mark release.Mark, format string, args ...any) {
	o.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: mark, Message: fmt.Sprintf(format, args...)})
}
