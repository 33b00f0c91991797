package kube

import (
	"context"
	"errors"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

// What is kept of a failure.
const (
	logLines    = 20
	logBytes    = 16 << 10
	lineBytes   = 500
	eventLines  = 10
	autopsyTime = 3 * time.Second
)

// autopsy makes an *ending a *release.Failure with the evidence, which is read
// now because a restore takes the pods away. Other errors are returned as they are.
func (w *wait) autopsy(ctx context.Context, err error) error {
	var e *ending
	if !errors.As(err, &e) {
		return err
	}
	// The evidence is worth a moment even when the time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), autopsyTime)
	defer cancel()
	f := &release.Failure{
		Role: w.role.Name, Code: e.code, Object: e.root.object.id.String(), Message: oneLine(e.message),
		ExitCode: e.exit, Signal: e.signal, Hint: e.hint,
	}
	if e.pod == nil {
		f.Events = e.root.h.lines()
		return w.cap(f, nil)
	}
	f.Object = "Pod " + e.pod.Namespace + "/" + e.pod.Name
	hidden := w.c.secretsOf(ctx, e.pod.Pod)
	f.Events = w.c.eventsOf(ctx, e.pod)
	if e.ran {
		f.Log = w.c.logOf(ctx, e.pod.Pod, e.container)
		refine(f)
	}
	return w.cap(f, hidden)
}

// refine names a cause that only the log tells of.
func refine(f *release.Failure) {
	for _, line := range f.Log {
		if wrongFormat.MatchString(line) && f.Code == release.CodeCrashLoop {
			f.Message += ": " + line
			f.Code, f.Hint = release.CodeExecFormat, "the program is for another architecture than the node's; build the image for its platform"
			return
		}
	}
}

// cap redacts and shortens what is kept.
func (w *wait) cap(f *release.Failure, hidden []string) error {
	clean := func(lines []string, most int) []string {
		if len(lines) > most {
			lines = lines[len(lines)-most:]
		}
		for i := range lines {
			lines[i] = clip(release.Redact(lines[i], hidden))
		}
		return lines
	}
	f.Log, f.Events = clean(f.Log, logLines), clean(f.Events, eventLines)
	f.Message = clip(release.Redact(f.Message, hidden))
	return f
}

func clip(line string) string {
	if len(line) > lineBytes {
		return strings.ToValidUTF8(line[:lineBytes], "") + "…"
	}
	return line
}

// logOf are the last lines of the container's run that failed: the one before if
// it has been started again since. nil if there is no log to be had.
func (c *Cluster) logOf(ctx context.Context, p *corev1.Pod, container string) []string {
	lines, most := int64(logLines), int64(logBytes)
	for _, previous := range []bool{restarted(p, container), false} {
		o := &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines, LimitBytes: &most}
		body, err := c.raw().Get().AbsPath(podsKind.path(p.Namespace, p.Name)+"/log").VersionedParams(o, c.typed.params).DoRaw(ctx)
		if err == nil && len(body) > 0 {
			return strings.Split(strings.TrimRight(string(body), "\n"), "\n")
		}
		if !previous {
			break
		}
	}
	return nil
}

// restarted reports whether the run that failed is the one before the present.
func restarted(p *corev1.Pod, container string) bool {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range list {
			if s.Name == container {
				return s.State.Running != nil && s.LastTerminationState.Terminated != nil
			}
		}
	}
	return false
}

// eventsOf are the pod's warnings, read now if none were watched.
func (c *Cluster) eventsOf(ctx context.Context, p *pod) []string {
	if len(p.h.events) == 0 {
		var list corev1.EventList
		only := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(p.UID) + ",type=Warning"}
		if c.typed.list(ctx, eventsKind, p.Namespace, only, &list) != nil {
			return nil // the failure is told without them
		}
		for i := range list.Items {
			e := &list.Items[i]
			p.h.warn(warning{name: e.Name, reason: e.Reason, message: oneLine(e.Message), at: e.LastTimestamp.Time})
		}
	}
	return p.h.lines()
}

// secretsOf are the values of the Secrets that a pod can write to its log,
// longest first. Those that may not be read are left to the patterns of release.Redact.
func (c *Cluster) secretsOf(ctx context.Context, p *corev1.Pod) []string {
	var values []string
	for name := range secretNames(&p.Spec) {
		var s corev1.Secret
		if c.typed.get(ctx, secretsKind, p.Namespace, name, &s) != nil {
			continue
		}
		for _, v := range s.Data {
			for _, line := range append([]string{string(v)}, strings.Split(string(v), "\n")...) {
				if line = strings.TrimSpace(line); len(line) >= 4 {
					values = append(values, line)
				}
			}
		}
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	return values
}

// secretNames are the Secrets whose content a pod gets to see.
func secretNames(spec *corev1.PodSpec) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil {
					names[from.SecretRef.Name] = true
				}
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					names[e.ValueFrom.SecretKeyRef.Name] = true
				}
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			names[v.Secret.SecretName] = true
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				names[source.Secret.Name] = true
			}
		}
	}
	return names
}
