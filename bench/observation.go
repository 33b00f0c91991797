package main

import (
	"context"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// observation is what this program sees of a rollout by watches of its own, with
// the time at which it saw it. A zero time was not seen.
type observation struct {
	mu       sync.Mutex
	image    string
	old      map[types.UID]bool      // pods that were there before
	ready    map[types.UID]time.Time // new pods with the image
	begun    time.Time               // the Deployment wants something new
	complete time.Time               // the Deployment says that it is all there
	pull     time.Time               // the first pull that failed
	exit     time.Time               // the second exit of one container
	stop     context.CancelFunc
	changed  chan struct{} // closed when begun is set
}

// watch begins to look at a namespace; image is the one that new pods run.
func (g *environment) watch(ctx context.Context, namespace, image string) (*observation, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &observation{image: image, old: map[types.UID]bool{}, ready: map[types.UID]time.Time{}, stop: stop, changed: make(chan struct{})}
	pods, err := g.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		stop()
		return nil, err
	}
	for _, p := range pods.Items {
		s.old[p.UID] = true
	}
	podEvents, err := g.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: pods.ResourceVersion})
	if err != nil {
		stop()
		return nil, err
	}
	before, err := g.client.AppsV1().Deployments(namespace).Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		stop()
		return nil, err
	}
	events, err := g.client.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	if err != nil {
		stop()
		return nil, err
	}
	go each(podEvents, func(p *corev1.Pod) { s.pod(p, time.Now()) })
	go each(events, func(d *appsv1.Deployment) { s.deployment(d, before.Generation, time.Now()) })
	return s, nil
}

// each calls see with every object of type T until the watch ends.
func each[T any](w watch.Interface, see func(*T)) {
	for event := range w.ResultChan() {
		if o, ok := any(event.Object).(*T); ok {
			see(o)
		}
	}
}

func (s *observation) pod(p *corev1.Pod, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old[p.UID] {
		return
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && s.ready[p.UID].IsZero() && p.Spec.Containers[0].Image == s.image {
			s.ready[p.UID] = at
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && strings.Contains(w.Reason, "ImagePull") && s.pull.IsZero() {
			s.pull = at
		}
		if c.RestartCount > 0 && c.State.Running == nil && s.exit.IsZero() {
			s.exit = at
		}
	}
}

func (s *observation) deployment(d *appsv1.Deployment, generation int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Generation == generation {
		return
	}
	if s.begun.IsZero() {
		s.begun = at
		close(s.changed)
	}
	if complete(d) && s.complete.IsZero() && d.Spec.Template.Spec.Containers[0].Image == s.image {
		s.complete = at
	}
}

// complete reports whether a Deployment says that its rollout is over.
func complete(d *appsv1.Deployment) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == replicas && s.AvailableReplicas == replicas && s.Replicas == replicas
}

// last is when the last new pod became ready; zero unless all did.
func (s *observation) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Time
	if len(s.ready) < replicas {
		return last
	}
	for _, at := range s.ready {
		if at.After(last) {
			last = at
		}
	}
	return last
}

func (s *observation) completed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete
}

// failedPull and secondExit are when a rollout showed what is wrong with it.
func (s *observation) failedPull() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pull
}

func (s *observation) secondExit() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit
}
