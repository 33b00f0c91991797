package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
	"github.com/joelhooks/shipit/tools/waiting"
)

// shape is what of the story runs for real on this machine.
type shape struct {
	noPods string // why pods are simulated; empty: they are real
	noHost string // why there is no host, and so neither host worker nor gateway; empty: there is one
}

func shapeOf(simulated bool) shape {
	if simulated {
		return shape{noPods: "it was asked for by -simulated", noHost: "it was asked for by -simulated"}
	}
	s := shape{noHost: devhost.Skip()}
	if err := cluster.CanRunReal(); err != nil {
		s.noPods = err.Error()
	}
	return s
}

// ground is what the story is played on.
type ground struct {
	shape
	dir      string // for all that is written, gone at the end
	shipit   string // the program
	cluster  *cluster.Cluster
	registry string        // host:port
	base     string        // the image that holds bun, by digest
	host     *devhost.Host // nil where none can be booted
	closers  []func()
}

// bringUp builds shipit and brings up the cluster, and the host beside it. What
// it returns is to be taken down, also with an error.
func bringUp(ctx context.Context, root, dir string, s shape, say func(string)) (*ground, error) {
	g := &ground{shape: s, dir: dir}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, line := range s.lines() {
		say(line)
	}
	var parts sync.WaitGroup
	for _, part := range []func(context.Context, func(string)) error{
		func(ctx context.Context, say func(string)) error { return g.bringCluster(ctx, root, say) },
		g.fetch, // which keeps the network busy, while building keeps the processors
	} {
		parts.Go(func() {
			if err := part(ctx, say); err != nil {
				cancel(err) // the first error is the cause, and ends the other part
			}
		})
	}
	parts.Wait()
	if err := context.Cause(ctx); err != nil {
		return g, err
	}
	return g, g.pushBase(ctx, say)
}

// lines say what runs here, by name, and what does not, with the reason.
func (s shape) lines() []string {
	lines := []string{"role cluster: a real pod (kubelet, containerd)"}
	if s.noPods != "" {
		lines[0] = "role cluster: a pod simulated by kwok, which runs no code; real pods cannot run here: " + s.noPods
	}
	if s.noHost != "" {
		return append(lines, "roles host and gateway: skipped: "+s.noHost)
	}
	return append(lines, "roles host and gateway: services of a real systemd, reached over SSH")
}

// bringCluster builds shipit and starts the cluster. What both are compiled from is
// compiled once: shipit comes first, unless the cluster's tools are there.
func (g *ground) bringCluster(ctx context.Context, root string, say func(string)) error {
	built, err := cluster.Built(ctx, g.noPods == "")
	if err != nil {
		return err
	}
	shipit := make(chan error, 1)
	go func() { shipit <- g.buildShipit(ctx, root, say) }()
	if !built {
		if err := <-shipit; err != nil {
			return err
		}
		shipit <- nil
	}
	g.cluster, err = cluster.Up(ctx, cluster.Options{Real: g.noPods == "", Progress: say, Pods: http.HandlerFunc(answerLikeWorker)})
	if err := errors.Join(err, <-shipit); err != nil {
		return err
	}
	g.registry = g.cluster.Registry
	if g.noPods == "" {
		return nil
	}
	addr, shut, err := cluster.Registry(context.WithoutCancel(ctx), filepath.Join(g.dir, "registry"))
	g.registry, g.closers = addr, append(g.closers, shut)
	return err
}

// buildShipit builds the program with the flags of the Makefile, so that make build
// and make test find it compiled.
func (g *ground) buildShipit(ctx context.Context, root string, say func(string)) error {
	g.shipit = filepath.Join(root, ".cache", "demo", "shipit")
	if err := os.MkdirAll(filepath.Dir(g.shipit), 0o755); err != nil {
		return err
	}
	return cluster.Compilation{
		What: "shipit", Dir: root, Packages: []string{"./cmd/shipit"}, Out: g.shipit, LinkerFlags: "-s -w", Seconds: 105,
		Flags: []string{"-trimpath", "-buildvcs=false", "-tags=kustomize_disable_go_plugin_support,grpcnotrace"},
	}.Run(ctx, say)
}

// fetch gets all that is not built here: the sources of the cluster's tools, the programs
// of a real node, and bun, with which the host is booted.
func (g *ground) fetch(ctx context.Context, say func(string)) error {
	tools := []string{"controlplane", "kubelet"}
	if g.noPods != "" {
		tools[1] = "kwok"
	}
	if err := cluster.FetchSources(ctx, tools...); err != nil {
		return err
	}
	if g.noPods == "" {
		if err := cluster.FetchReal(ctx, say); err != nil {
			return err
		}
	}
	if g.noHost != "" {
		return nil
	}
	done := waiting.For(say, "fetching bun "+bunbase.BunVersion, waiting.About(5*time.Second))
	bun, err := bunbase.Bun(ctx)
	done()
	if err != nil {
		return err
	}
	g.host, err = devhost.Up(ctx, devhost.Options{Files: map[string]string{"/usr/local/bin/bun": bun}, Progress: func(line string) { say("host: " + line) }})
	return err
}

// pushBase puts the image that holds bun into the registry; where no code of an
// image runs, one that holds nothing.
func (g *ground) pushBase(ctx context.Context, say func(string)) error {
	img, err := emptyBase()
	if g.noPods == "" {
		defer waiting.For(say, "making a base image that holds bun", waiting.About(5*time.Second))()
		img, err = bunbase.Image(ctx)
	}
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	ref, err := name.NewDigest(g.registry + "/oven/bun@" + digest.String())
	if err != nil {
		return err
	}
	g.base = ref.Name()
	return remote.Write(ref, img, remote.WithContext(ctx))
}

// emptyBase is an image for linux/amd64 that has a bun by name only.
func emptyBase() (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: v1.Config{Env: []string{"PATH=/usr/local/bin"}}, RootFS: v1.RootFS{Type: "layers"}}
	img, err := mutate.ConfigFile(img, config)
	if err != nil {
		return nil, err
	}
	layer, err := crane.Layer(map[string][]byte{"usr/local/bin/bun": []byte("no program\n")})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

// down ends what bringUp started.
func (g *ground) down(ctx context.Context) error {
	for _, shut := range g.closers {
		shut()
	}
	var hostErr, clusterErr error
	var both sync.WaitGroup
	if g.host != nil {
		both.Go(func() { hostErr = g.host.Down() })
	}
	if g.cluster != nil {
		both.Go(func() { clusterErr = g.cluster.Down(ctx) })
	}
	both.Wait()
	return errors.Join(hostErr, clusterErr)
}

// answerLikeWorker is what the sample's worker answers on GET /. No worker runs in
// a simulated pod: this shows shipit's way to a pod and its probes, no image.
func answerLikeWorker(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"functions":["approval-request","task-created"],"count":2,"worker":{"role":"cluster","lastRegistrationAt":"2026-01-02T03:04:05Z"}}`)
}
