package kube

import (
	"cmp"
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// ownPods are the pods of the role's workloads that run its image, without those that
// are being deleted.
func (r running) ownPods(role release.Role) []*corev1.Pod {
	own := map[object.ID]bool{}
	for _, o := range r.objects {
		own[o.ID] = o.Serves() && len(containersOf(o, role.Repository)) > 0
	}
	var out []*corev1.Pod
	for _, u := range r.workloads {
		if !own[object.IDOf(u)] {
			continue
		}
		isOwn := object.PodsOf(u)
		for _, p := range r.pods {
			if isOwn(p) && p.DeletionTimestamp == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// running is what runs of a role.
type running struct {
	objects   []*object.Object             // as rendered
	workloads []*unstructured.Unstructured // live
	pods      []*corev1.Pod
}

// readRunning reads the role's workloads and, at the same time, the pods that their
// rendered selectors select: a selector never changes.
func readRunning(ctx context.Context, c *client.Client, role release.Role) (running, error) {
	all, err := object.Parse(role)
	if err != nil {
		return running{}, err
	}
	var r running
	var bodies []*unstructured.Unstructured
	for _, o := range all {
		if object.PodTemplate(o.Body) != nil || o.ID.Kind == "Pod" {
			r.objects, bodies = append(r.objects, o), append(bodies, o.Body)
		}
	}
	if err := c.Resolve(r.objects); err != nil {
		return running{}, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { r.workloads, err = liveWorkloads(gctx, c, r.objects); return err })
	selected := selectedBy(serving(r.objects, bodies))
	group.Go(func() (err error) { r.pods, err = podsOf(gctx, c, selected); return err })
	if err := group.Wait(); err != nil {
		return running{}, observing(role, err)
	}
	return r, nil
}

// liveWorkloads reads those that serve as they are; one that does not exist is left out.
func liveWorkloads(ctx context.Context, c *client.Client, objects []*object.Object) ([]*unstructured.Unstructured, error) {
	type collection struct {
		kind      object.Kind
		namespace string
	}
	byCollection := map[collection][]*object.Object{}
	for _, o := range objects {
		if o.Serves() {
			at := collection{o.Kind, o.ID.Namespace}
			byCollection[at] = append(byCollection[at], o)
		}
	}
	var mu sync.Mutex
	var live []*unstructured.Unstructured
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for _, list := range byCollection {
		group.Go(func() error {
			found, err := c.Live(gctx, list)
			mu.Lock()
			defer mu.Unlock()
			live = append(live, found...)
			return err
		})
	}
	return live, group.Wait()
}

// serving are the live objects whose pods serve.
func serving(objects []*object.Object, live []*unstructured.Unstructured) []*unstructured.Unstructured {
	wanted := map[object.ID]bool{}
	for _, o := range objects {
		wanted[o.ID] = o.Serves()
	}
	var out []*unstructured.Unstructured
	for _, u := range live {
		if wanted[object.IDOf(u)] {
			out = append(out, u)
		}
	}
	return out
}

// selectedBy are the labels that the pods of all workloads of a namespace have in common,
// by namespace.
func selectedBy(workloads []*unstructured.Unstructured) map[string]labels.Set {
	common := map[string]labels.Set{}
	for _, u := range workloads {
		selected, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
		if u.GetKind() == "Pod" {
			selected = u.GetLabels()
		}
		common[u.GetNamespace()] = object.CommonLabels(common[u.GetNamespace()], selected)
	}
	return common
}

// podsOf reads the pods with such labels, one request a namespace.
func podsOf(ctx context.Context, c *client.Client, selected map[string]labels.Set) ([]*corev1.Pod, error) {
	var mu sync.Mutex
	var pods []*corev1.Pod
	group, gctx := errgroup.WithContext(ctx)
	for ns, set := range selected {
		group.Go(func() error {
			var slim object.SlimPods
			var patches compare.Patches
			list, err := c.ListPods(gctx, ns, set, func(p *corev1.Pod) {
				p.ManagedFields = patches.Of(p.ManagedFields)
				slim.Slim(p)
			})
			mu.Lock()
			defer mu.Unlock()
			pods = append(pods, list...)
			return err
		})
	}
	return pods, group.Wait()
}

// liveOf counts what the pods of a role's workloads run.
func liveOf(role release.Role, r running, now time.Time) release.Live {
	out := release.Live{At: now}
	count := map[string]int{}
	found := map[object.ID]*unstructured.Unstructured{}
	for _, u := range r.workloads {
		found[object.IDOf(u)] = u
	}
	for _, o := range r.objects {
		names := containersOf(o, role.Repository)
		if len(names) == 0 || !o.Serves() {
			continue
		}
		u := found[o.ID]
		if u == nil {
			out.Desired += object.Replicas(o.Body)
			continue
		}
		out.Desired += object.Replicas(u)
		out.Wanted = wantedImage(u, names)
		isOwn, ready := object.PodsOf(u), 0
		for _, p := range r.pods {
			if !isOwn(p) || p.DeletionTimestamp != nil || !object.PodReady(p) {
				continue
			}
			digests := runningDigests(p, names)
			unknown := role.Digest == "" // it was adopted, and nobody knows its image: any fits
			wanted := unknown || len(digests) > 0
			for _, d := range digests {
				count[d]++
				wanted = wanted && (unknown || role.Runs(d))
			}
			if began := p.Status.StartTime; began != nil && (out.Since.IsZero() || began.Time.Before(out.Since)) {
				out.Since = began.UTC()
			}
			if wanted {
				ready++
			}
		}
		old := outdated(u)
		out.Ready += max(0, ready-old)
		if byHand := object.UpdateByHand(u); byHand != "" && old > 0 && ready > 0 {
			out.Unsteady = fmt.Sprintf("%d pods of %s are of an earlier revision: %s", min(old, ready), u.GetName(), byHand)
		}
	}
	steady := steadinessOf(r.ownPods(role), now)
	out.Unsteady, out.Info = cmp.Or(steady.unsteady, out.Unsteady), steady.info
	for d := range count {
		out.Digests = append(out.Digests, d)
	}
	sort.Slice(out.Digests, func(i, j int) bool {
		a, b := out.Digests[i], out.Digests[j]
		return count[a] > count[b] || count[a] == count[b] && a < b
	})
	return out
}

// wantedImage is the digest that a live workload's template asks for in one of the
// containers, or the whole reference where that has none.
func wantedImage(u *unstructured.Unstructured, names map[string]bool) string {
	for _, m := range object.Containers(u, "containers") {
		if name, _ := m["name"].(string); names[name] {
			image, _ := m["image"].(string)
			if _, digest, pinned := strings.Cut(image, "@"); pinned {
				return digest
			}
			return image
		}
	}
	return ""
}

// containersOf are the names of the containers that were rendered with the role's
// image. A live container is known by its name: its image may have been changed.
func containersOf(o *object.Object, repository string) map[string]bool {
	names := map[string]bool{}
	for _, m := range object.Containers(o.Body, "containers") {
		name, _ := m["name"].(string)
		image, _ := m["image"].(string)
		if sameRepository(image, repository) {
			names[name] = true
		}
	}
	return names
}

// sameRepository compares the repository of an image reference, in which Docker
// Hub may go unsaid.
func sameRepository(image, repository string) bool {
	return fullName(image) == fullName(repository)
}

func fullName(ref string) string {
	ref = withoutTag(ref)
	first, rest, ok := strings.Cut(ref, "/")
	switch {
	case !ok:
		return "docker.io/library/" + ref
	case first == "index.docker.io":
		return fullName("docker.io/" + rest)
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + ref
	case first == "docker.io" && !strings.Contains(rest, "/"):
		return "docker.io/library/" + rest
	}
	return ref
}

var digestIn = pattern.Lazy(`sha256:[0-9a-f]{64}$`)

// runningDigests are the digests that the runtime reports for containers, by name.
func runningDigests(p *corev1.Pod, names map[string]bool) []string {
	var out []string
	for _, s := range p.Status.ContainerStatuses {
		if digest := digestIn().FindString(s.ImageID); names[s.Name] && digest != "" {
			out = append(out, digest)
		}
	}
	return out
}

// newestPod is the youngest ready pod that runs the role's image.
func newestPod(ctx context.Context, c *client.Client, role release.Role) (*corev1.Pod, error) {
	r, err := readRunning(ctx, c, role)
	if err != nil {
		return nil, err
	}
	var newest *corev1.Pod
	for _, u := range r.workloads {
		for _, o := range r.objects {
			if o.ID != object.IDOf(u) || len(containersOf(o, role.Repository)) == 0 {
				continue
			}
			isOwn := object.PodsOf(u)
			for _, p := range r.pods {
				ready := isOwn(p) && p.DeletionTimestamp == nil && object.PodReady(p)
				if ready && (newest == nil || newest.CreationTimestamp.Before(&p.CreationTimestamp)) {
					newest = p
				}
			}
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("role %s has no ready pod", role.Name)
	}
	return newest, nil
}
