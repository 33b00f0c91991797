package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// environment is what all tools are measured on: one cluster, one registry, two images.
type environment struct {
	dir      string
	real     bool
	rounds   int
	limit    time.Duration
	cluster  *cluster.Cluster
	client   kubernetes.Interface
	audit    *audit
	registry string
	base     string    // the base image, by digest
	images   [2]string // the app's images, by digest
	closers  []func(context.Context) error
}

// newEnvironment brings up the cluster and the registry.
func newEnvironment(ctx context.Context, dir string, o options) (*environment, error) {
	g := &environment{dir: dir, real: o.real, rounds: o.rounds, limit: o.limit}
	how := cluster.Options{Real: o.real, Nodes: 3, Audit: true, Progress: say}
	if o.real {
		how.Nodes = 1
	}
	c, err := cluster.Up(ctx, how)
	if err != nil {
		return nil, err
	}
	g.closers = append(g.closers, c.Down)
	if err := g.open(ctx, c); err != nil {
		return nil, errors.Join(err, g.close(ctx))
	}
	return g, nil
}

func (g *environment) open(ctx context.Context, c *cluster.Cluster) error {
	g.cluster, g.audit, g.registry = c, &audit{path: c.AuditLog}, c.Registry
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	cfg.UserAgent, cfg.QPS = "bench", -1
	if g.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	image := hollowBase
	if g.real {
		image = bunbase.Image
	} else {
		addr, shut, err := cluster.Registry(ctx, filepath.Join(g.dir, "registry"))
		if err != nil {
			return err
		}
		g.registry = addr
		g.closers = append(g.closers, func(context.Context) error { shut(); return nil })
	}
	base, err := image(ctx)
	if err != nil {
		return err
	}
	g.base, err = push(ctx, g.registry, base)
	return err
}

// close takes down what newEnvironment brought up, also when ctx has ended.
func (g *environment) close(ctx context.Context) error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i](context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// prepare builds the app's two images with shipit; peers deploy them by digest.
func (g *environment) prepare(ctx context.Context, tools []tool) error {
	say("build two images")
	d := g.at(tools[0], "images")
	for i := range g.images {
		ref, err := shipitCommands{}.build(ctx, d, variant{objects: 1, image: i})
		if err != nil {
			return err
		}
		g.images[i] = ref
	}
	return nil
}

// at is a tool's deployment of that name.
func (g *environment) at(t tool, purpose string) deployment {
	return deployment{environment: g, tool: t, namespace: t.name + "-" + purpose, folder: filepath.Join(g.dir, t.name, purpose)}
}

// start is at with its namespace made and the variant deployed.
func (g *environment) start(ctx context.Context, t tool, purpose string, e variant) (deployment, error) {
	d := g.at(t, purpose)
	if err := d.makeNamespace(ctx); err != nil {
		return d, err
	}
	return d, d.mustDeploy(ctx, e)
}

func (d deployment) makeNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}}
	_, err := d.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	return err
}

// mustDeploy writes and deploys an variant that nothing is wrong with, and sees
// to it that its rollout is over.
func (d deployment) mustDeploy(ctx context.Context, e variant) error {
	if err := d.tool.commands.write(ctx, d, e); err != nil {
		return err
	}
	if _, err := d.must(ctx, d.tool.commands.deploy(d)); err != nil {
		return err
	}
	return d.settled(ctx)
}

// settled waits until the Deployment says that all is there: not every tool does.
func (d deployment) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limit, errors.New(d.namespace+": the rollout does not end"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		live, err := d.client.AppsV1().Deployments(d.namespace).Get(ctx, "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if complete(live) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// must measures command lines that have to end with 0.
func (d deployment) must(ctx context.Context, lines [][]string) (*measured, error) {
	m, err := d.measure(ctx, lines)
	if err == nil && m.Code != 0 {
		err = fmt.Errorf("%s in %s: exit code %d\n%s", d.tool.name, d.namespace, m.Code, m.Out.String())
	}
	return m, err
}

// measure runs command lines, which end by their own limits or soon after.
func (d deployment) measure(ctx context.Context, lines [][]string) (*measured, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 4*d.limit+30*time.Second, errors.New("it does not end"))
	defer cancel()
	return measure(ctx, d.folder, d.env(), lines)
}

// env is what every tool sees of this machine: a home folder of its own.
func (d deployment) env() []string {
	home, kubeconfig := filepath.Join(d.dir, d.tool.name, "home"), d.cluster.Kubeconfig
	if d.kubeconfig != "" {
		kubeconfig = d.kubeconfig
	}
	_ = os.MkdirAll(home, 0o755) // a tool that needs it will say so
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, ".cache"),
		"KUBECONFIG=" + kubeconfig, "GIT_CONFIG_NOSYSTEM=1", "TMPDIR=" + os.TempDir(),
	}
}

// hollowBase is a base image without a program that runs: enough for simulated pods.
func hollowBase(context.Context) (v1.Image, error) {
	layer, err := crane.Layer(map[string][]byte{"usr/local/bin/bun": []byte("no program\n")})
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: v1.Config{Env: []string{"PATH=/usr/local/bin"}}, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

// push puts an image into the registry and gives its name by digest.
func push(ctx context.Context, registry string, img v1.Image) (string, error) {
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewDigest(registry + "/bench/base@" + digest.String())
	if err != nil {
		return "", err
	}
	return ref.Name(), remote.Write(ref, img, remote.WithContext(ctx), remote.WithTransport(http.DefaultTransport))
}
