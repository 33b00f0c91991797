package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// failing is an variant that cannot work, and what names its cause.
type failing struct {
	fault fault
	name  string
	cause *regexp.Regexp // matches what a tool prints that names the cause
	since string         // what is seen in the cluster that the cause could be told from
}

func failings() []failing {
	return []failing{
		{noSuchImage, "an image that its registry does not have", regexp.MustCompile(`(?i)not found|unknown|not in (the|its) registry|ErrImagePull|ImagePullBackOff`), "failed pull"},
		{unpullable, "an image that only the node cannot pull", regexp.MustCompile(`(?i)ErrImagePull|ImagePullBackOff|not found`), "failed pull"},
		{crashLoop, "crash loop", regexp.MustCompile(`(?i)crash|exit code 1|exited with`), "second exit"},
		{missingSecret, "missing Secret", regexp.MustCompile(`(?i)secret.{0,60}(missing|not found|not there)|CreateContainerConfigError`), ""},
		{unschedulable, "no node fits", regexp.MustCompile(`(?i)unschedulable|no node|nodes? (fits?|match)|node selector|affinity/selector`), ""},
		{forbidden, "the caller may not change Deployments", regexp.MustCompile(`(?i)forbidden|may not`), ""},
	}
}

// failureRows measures how long a rollout that cannot work takes to end, what
// is said about it and what is left behind.
func failureRows(ctx context.Context, g *environment, t *table) error {
	var rows []*failureRow
	for _, f := range failings() {
		if f.fault == unpullable && g.real {
			continue // what a registry has, the node can pull
		}
		row := &failureRow{failing: f, reaction: figures{}, texts: map[string]string{}, causes: map[string]float64{}}
		if err := row.take(ctx, g, t.tools[0]); err != nil { // shipit has the machine for itself
			return err
		}
		rows = append(rows, row)
	}
	peers, ctx := errgroup.WithContext(ctx) // they mostly wait for their limit, so they do it together
	peers.SetLimit(g.peersAtOnce(len(t.tools) - 1))
	for _, row := range rows {
		for _, tool := range t.tools[1:] {
			peers.Go(func() error { return row.take(ctx, g, tool) })
		}
	}
	if err := peers.Wait(); err != nil {
		return err
	}
	for _, row := range rows {
		row.write(t)
	}
	return nil
}

// peersAtOnce is how many peers fail at the same time: those of one row on real pods, whose
// kubelet has work with each.
func (g *environment) peersAtOnce(ofARow int) int {
	if g.real {
		return ofARow
	}
	return 3 * ofARow
}

// failureRow is what the tools did about one fault.
type failureRow struct {
	failing
	mu       sync.Mutex
	reaction figures // from what the cluster showed to the cause that the tool named
	texts    map[string]string
	causes   map[string]float64
}

// take measures one tool.
func (r *failureRow) take(ctx context.Context, g *environment, tool tool) error {
	end, err := g.fail(ctx, tool, r.failing)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if end.took() < g.limit { // who only mentions it and waits on has not acted on it
		r.reaction.between(tool, end.symptom, end.named)
		if !end.named.IsZero() {
			r.causes[tool.name] = end.took().Seconds()
		}
	}
	r.texts[tool.name] = end.text(g.limit)
	return nil
}

// write adds the row to the table.
func (r *failureRow) write(t *table) {
	for tool, list := range r.reaction {
		r.texts[tool] += fmt.Sprintf("; cause %s after the %s", seconds.text(max(0, median(list))), r.since)
	}
	t.words("What cannot work", r.name, r.texts)
	t.rows[len(t.rows)-1].causes = r.causes
}

// failed is how a deploy of something that cannot work ended.
type failed struct {
	*measured
	named   time.Time // when the cause was first said
	symptom time.Time // when the cluster showed it
	left    string    // what the cluster holds afterwards
}

// fail deploys a sound variant and then one that cannot work.
func (g *environment) fail(ctx context.Context, tool tool, f failing) (failed, error) {
	d, err := g.start(ctx, tool, string(f.fault), variant{objects: 2})
	if err != nil {
		return failed{}, err
	}
	before, err := d.state(ctx)
	if err != nil {
		return failed{}, err
	}
	e := variant{objects: 2, revision: 1, restart: 1, fault: f.fault}
	if err := tool.commands.write(ctx, d, e); err != nil {
		return failed{}, err
	}
	if f.fault == forbidden {
		if d.kubeconfig, err = d.limited(ctx); err != nil {
			return failed{}, err
		}
	}
	s, err := g.watch(ctx, d.namespace, d.images[0])
	if err != nil {
		return failed{}, err
	}
	defer s.stop()
	m, err := d.measure(ctx, tool.commands.deploy(d))
	if err != nil {
		return failed{}, err
	}
	after, err := d.state(ctx)
	if err != nil {
		return failed{}, err
	}
	d.log(f.fault, m)
	end := failed{measured: m, named: m.Out.when(f.cause), left: after.since(before)}
	switch f.since {
	case "failed pull":
		end.symptom = s.failedPull()
	case "second exit":
		end.symptom = s.secondExit()
	}
	return end, nil
}

// log keeps what a tool said, for whoever keeps the work folder.
func (d deployment) log(f fault, m *measured) {
	_ = os.WriteFile(filepath.Join(d.dir, d.tool.name+"-"+string(f)+".log"), []byte(m.Out.String()), 0o644)
}

// text is the outcome in a few words.
func (f failed) text(limit time.Duration) string {
	took := seconds.text(f.took().Seconds())
	if f.took() >= limit {
		took = fmt.Sprintf(">%.0f s (its limit)", limit.Seconds())
	}
	words := []string{took, fmt.Sprintf("exit %d", f.Code)}
	if f.Code == 0 {
		words[1] = "**exit 0**"
	}
	if f.named.IsZero() {
		words = append(words, "no cause")
	} else {
		words = append(words, "names the cause")
	}
	return strings.Join(append(words, f.left), ", ")
}

// state is what a deployment's objects are.
type state struct {
	deployment *appsv1.Deployment
	revision   string // of the ConfigMap
	version    string // of the ConfigMap, which every write moves
}

func (d deployment) state(ctx context.Context) (state, error) {
	dep, err := d.client.AppsV1().Deployments(d.namespace).Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		return state{}, err
	}
	cm, err := d.client.CoreV1().ConfigMaps(d.namespace).Get(ctx, "c-000", metav1.GetOptions{})
	if err != nil {
		return state{}, err
	}
	return state{dep, cm.Data["revision"], cm.ResourceVersion}, nil
}

// since says what became of the objects.
func (s state) since(before state) string {
	newPods := !reflect.DeepEqual(s.deployment.Spec.Template, before.deployment.Spec.Template)
	newConfig := s.revision != before.revision
	switch {
	case newPods && newConfig:
		return "left broken"
	case newPods || newConfig:
		return "left half changed"
	case s.deployment.Generation != before.deployment.Generation || s.version != before.version:
		return "put back"
	default:
		return "nothing changed"
	}
}
