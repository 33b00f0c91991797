package kube

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/joelhooks/shipit/release"
)

// Observe reads what runs for a role now: the digests that the runtime reports
// for the role's containers in the pods that are ready, old ones too. It trusts
// no image name: a pod whose runtime reports no digest counts as running none.
// Jobs and schedules serve nothing and are not counted.
func (c *Cluster) Observe(ctx context.Context, role release.Role) (release.Live, error) {
	objects, live, pods, err := c.running(ctx, role)
	if err != nil {
		return release.Live{}, fmt.Errorf("observe role %s: %w", role.Name, err)
	}
	return liveOf(role, objects, live, pods, time.Now()), nil
}

// running reads the role's workloads and, at the same time, what their rendered
// selectors find: a selector never changes.
func (c *Cluster) running(ctx context.Context, role release.Role) (objects []*object, live []*unstructured.Unstructured, pods []*corev1.Pod, err error) {
	all, err := parse(role)
	if err != nil {
		return nil, nil, nil, err
	}
	var bodies []*unstructured.Unstructured
	for _, o := range all {
		if podTemplate(o.body) != nil || o.id.Kind == "Pod" {
			objects, bodies = append(objects, o), append(bodies, o.body)
		}
	}
	if err := c.resolve(objects); err != nil {
		return nil, nil, nil, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { live, err = c.workloads(gctx, objects); return err })
	group.Go(func() (err error) { pods, err = c.podsOf(gctx, serving(objects, bodies)); return err })
	return objects, live, pods, group.Wait()
}

// serves reports whether a workload's pods serve for as long as it is there.
func serves(o *object) bool {
	switch o.kind.gk.Group + "/" + o.kind.gk.Kind {
	case "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "/Pod":
		return true
	}
	return false
}

// workloads reads those that serve as they are; one that is not there is left out.
func (c *Cluster) workloads(ctx context.Context, objects []*object) ([]*unstructured.Unstructured, error) {
	byShelf := map[shelf][]*object{}
	for _, o := range objects {
		if serves(o) {
			s := shelf{o.kind, o.id.Namespace}
			byShelf[s] = append(byShelf[s], o)
		}
	}
	var mu sync.Mutex
	var live []*unstructured.Unstructured
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for s, list := range byShelf {
		group.Go(func() error {
			found, err := c.readShelf(gctx, s, list)
			mu.Lock()
			defer mu.Unlock()
			live = append(live, found...)
			return err
		})
	}
	return live, group.Wait()
}

// serving are the live objects whose pods serve.
func serving(objects []*object, live []*unstructured.Unstructured) []*unstructured.Unstructured {
	wanted := map[ID]bool{}
	for _, o := range objects {
		wanted[o.id] = serves(o)
	}
	var out []*unstructured.Unstructured
	for _, u := range live {
		if wanted[idOf(u)] {
			out = append(out, u)
		}
	}
	return out
}

// readShelf reads objects by name if they are few, else in one list by what their
// labels have in common.
func (c *Cluster) readShelf(ctx context.Context, s shelf, objects []*object) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	if len(objects) <= 2 {
		for _, o := range objects {
			u, err := c.fetch(ctx, s.kind, s.namespace, o.id.Name)
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return nil, err
			default:
				found = append(found, u)
			}
		}
		return found, nil
	}
	var common map[string]string
	names := map[string]bool{}
	for _, o := range objects {
		names[o.id.Name] = true
		common = shared(common, o.body.GetLabels())
	}
	items, err := c.list(ctx, s.kind, s.namespace, labels.Set(common).String())
	for i := range items {
		if names[items[i].GetName()] {
			found = append(found, &items[i])
		}
	}
	return found, err
}

// podsOf reads the pods that the workloads select, one request a namespace.
func (c *Cluster) podsOf(ctx context.Context, live []*unstructured.Unstructured) ([]*corev1.Pod, error) {
	common := map[string]map[string]string{}
	for _, u := range live {
		selected, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
		if u.GetKind() == "Pod" {
			selected = u.GetLabels()
		}
		common[u.GetNamespace()] = shared(common[u.GetNamespace()], selected)
	}
	var mu sync.Mutex
	var pods []*corev1.Pod
	group, gctx := errgroup.WithContext(ctx)
	for ns, set := range common {
		group.Go(func() error {
			return c.patiently(gctx, func() error {
				var list corev1.PodList
				if err := c.typed.list(gctx, podsKind, ns, metav1.ListOptions{LabelSelector: labels.Set(set).String()}, &list); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				for i := range list.Items {
					pods = append(pods, slim(&list.Items[i]))
				}
				return nil
			})
		})
	}
	return pods, group.Wait()
}

// liveOf counts what the pods of a role's workloads run.
func liveOf(role release.Role, objects []*object, live []*unstructured.Unstructured, pods []*corev1.Pod, now time.Time) release.Live {
	out := release.Live{At: now}
	count := map[string]int{}
	found := map[ID]*unstructured.Unstructured{}
	for _, u := range live {
		found[idOf(u)] = u
	}
	for _, o := range objects {
		names := containersOf(o, role.Repository)
		if len(names) == 0 || !serves(o) {
			continue
		}
		u := found[o.id]
		if u == nil {
			out.Desired += askedFor(o.body)
			continue
		}
		out.Desired += askedFor(u)
		out.Wanted = askedImage(u, names)
		mine := selectorFor(u)
		for _, p := range pods {
			if !mine(p) || p.DeletionTimestamp != nil || !podReady(p) {
				continue
			}
			digests := runs(p, names)
			wanted := len(digests) > 0
			for _, d := range digests {
				count[d]++
				wanted = wanted && role.Runs(d)
			}
			if wanted {
				out.Ready++
			}
		}
	}
	for d := range count {
		out.Digests = append(out.Digests, d)
	}
	sort.Slice(out.Digests, func(i, j int) bool {
		a, b := out.Digests[i], out.Digests[j]
		return count[a] > count[b] || count[a] == count[b] && a < b
	})
	return out
}

// askedImage is the digest that a live workload's template asks for in one of the
// containers, or the whole reference where that has none.
func askedImage(u *unstructured.Unstructured, names map[string]bool) string {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if t := podTemplate(u); t != nil {
		spec, _ = t["spec"].(map[string]any)
	}
	list, _ := spec["containers"].([]any)
	for _, item := range list {
		m, _ := item.(map[string]any)
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
func containersOf(o *object, repository string) map[string]bool {
	spec, _, _ := unstructured.NestedMap(o.body.Object, "spec")
	if t := podTemplate(o.body); t != nil {
		spec, _ = t["spec"].(map[string]any)
	}
	names := map[string]bool{}
	list, _ := spec["containers"].([]any)
	for _, item := range list {
		m, _ := item.(map[string]any)
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
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
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

// askedFor is how many instances a workload asks for.
func askedFor(u *unstructured.Unstructured) int {
	switch u.GetKind() {
	case "Pod":
		return 1
	case "DaemonSet":
		n, _, _ := unstructured.NestedInt64(u.Object, "status", "desiredNumberScheduled")
		return int(n)
	}
	v, ok, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas")
	if n, isNumber := number(v); ok && isNumber {
		return int(n)
	}
	return 1
}

// selectorFor tells a workload's pods from others.
func selectorFor(u *unstructured.Unstructured) func(*corev1.Pod) bool {
	namespace, name := u.GetNamespace(), u.GetName()
	if u.GetKind() == "Pod" {
		return func(p *corev1.Pod) bool { return p.Namespace == namespace && p.Name == name }
	}
	raw, _, _ := unstructured.NestedMap(u.Object, "spec", "selector")
	selector, err := selectorOf(raw)
	if err != nil || selector.Empty() {
		return func(*corev1.Pod) bool { return false }
	}
	return func(p *corev1.Pod) bool { return p.Namespace == namespace && selector.Matches(labels.Set(p.Labels)) }
}

var digestIn = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)

// runs are the digests that the runtime reports for containers, by name.
func runs(p *corev1.Pod, names map[string]bool) []string {
	var out []string
	for _, s := range p.Status.ContainerStatuses {
		if digest := digestIn.FindString(s.ImageID); names[s.Name] && digest != "" {
			out = append(out, digest)
		}
	}
	return out
}
