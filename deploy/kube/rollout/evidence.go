package rollout

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// How much evidence of a failure is kept, and how long it may take to read.
const (
	logLines     = 20
	logBytes     = logLines * 16 << 10 // the kubelet counts a line longer than 16 KiB as several
	lineBytes    = 500
	eventLines   = 10
	evidenceTime = 3 * time.Second
)

// withEvidence makes a *fatal a *release.Failure with the pod's log and events, which
// are read now because a restore deletes the pods. Other errors are returned as they are.
func (r *run) withEvidence(ctx context.Context, err error) error {
	var e *fatal
	if !errors.As(err, &e) {
		return err
	}
	// The evidence is worth a moment even when the time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), evidenceTime)
	defer cancel()
	if e.pod == nil {
		f := failureOf(r.o.Role, e.tracked.ID.String(), e.Cause)
		f.Events = e.tracked.history.Warnings()
		return presentable(f, nil)
	}
	return evidence(ctx, r.c, failureOf(r.o.Role, "", e.Cause), e)
}

// failureOf is a cause without evidence.
func failureOf(role, object string, c diagnose.Cause) *release.Failure {
	return &release.Failure{Role: role, Code: c.Code, Object: object, Message: release.OneLine(c.Message), ExitCode: c.ExitCode, Signal: c.Signal, Hint: c.Hint}
}

// evidence adds to a failure the log and the warnings of the pod in which it was found.
func evidence(ctx context.Context, c *client.Client, f *release.Failure, e *fatal) *release.Failure {
	f.Object = "Pod " + e.pod.Namespace + "/" + e.pod.Name
	secrets, _ := SecretValues(ctx, c, e.pod.Pod)
	f.Events = podWarnings(ctx, c, e.pod)
	if e.Ran {
		f.Log = lastLogLines(ctx, c, e.pod.Pod, e.Container)
		diagnose.RefineFromLog(f)
	}
	return presentable(f, secrets)
}

// Explain is why a pod does not serve, or why a container of it was restarted last,
// with the evidence; nil if nothing is known to be wrong with it.
func Explain(ctx context.Context, c *client.Client, role string, p *corev1.Pod) *release.Failure {
	ctx, cancel := context.WithTimeout(ctx, evidenceTime)
	defer cancel()
	known := &pod{Pod: p, history: diagnose.NewHistory()}
	known.history.Observe(p)
	podWarnings(ctx, c, known)
	cause, ok := diagnose.Pod(p, known.history)
	if !ok {
		cause, ok = diagnose.LastExit(p, "", known.history)
	}
	if !ok {
		return nil
	}
	return evidence(ctx, c, failureOf(role, "", cause), &fatal{cause, nil, known})
}

// presentable redacts and shortens what is kept of a failure.
func presentable(f *release.Failure, secrets []string) *release.Failure {
	clean := func(lines []string, most int) []string {
		if len(lines) > most {
			lines = lines[len(lines)-most:]
		}
		for i := range lines {
			lines[i] = clip(release.Redact(lines[i], secrets))
		}
		return lines
	}
	f.Log, f.Events = clean(f.Log, logLines), clean(f.Events, eventLines)
	f.Message = clip(release.Redact(f.Message, secrets))
	return f
}

// lastLogLines are those of the container's run that failed: the one before if it has
// been started again since. nil if there is no log to be had.
func lastLogLines(ctx context.Context, c *client.Client, p *corev1.Pod, container string) []string {
	lines, most := int64(logLines), int64(logBytes)
	for _, previous := range []bool{restarted(p, container), false} {
		o := &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines, LimitBytes: &most}
		body, err := c.PodLog(ctx, p.Namespace, p.Name, o)
		if err == nil && len(body) > 0 {
			return strings.Split(strings.TrimRight(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n"), "\n")
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

// podWarnings are the pod's events of type Warning, read now if none were watched.
func podWarnings(ctx context.Context, c *client.Client, p *pod) []string {
	if known := p.history.Warnings(); len(known) > 0 {
		return known
	}
	var list corev1.EventList
	only := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(p.UID) + ",type=" + corev1.EventTypeWarning}
	if c.ListInto(ctx, client.Events, p.Namespace, only, &list) != nil {
		return nil // the failure is reported without them
	}
	for i := range list.Items {
		e := &list.Items[i]
		p.history.Warn(diagnose.Warning{Name: e.Name, Reason: e.Reason, Message: release.OneLine(e.Message), Container: containerIn(e.InvolvedObject.FieldPath), At: e.LastTimestamp.Time})
	}
	return p.history.Warnings()
}

// SecretValues are the values of the Secrets that a pod can write to its log. The
// error says that some could not be read; one that does not exist is none.
func SecretValues(ctx context.Context, c *client.Client, p *corev1.Pod) ([]string, error) {
	var values []string
	var unread error
	for name := range object.SecretsOf(&p.Spec) {
		var s corev1.Secret
		if err := c.GetInto(ctx, client.Secrets, p.Namespace, name, &s); err != nil {
			if !apierrors.IsNotFound(err) {
				unread = err
			}
			continue
		}
		for _, v := range s.Data {
			values = append(values, string(v))
		}
	}
	return values, unread
}

// clip shortens a line in its middle: it begins with what it is about, and ends with
// the cause.
func clip(line string) string {
	if len(line) <= lineBytes {
		return line
	}
	head, tail := line[:lineBytes/3], line[len(line)-lineBytes*2/3:]
	return strings.ToValidUTF8(head, "") + "…" + strings.ToValidUTF8(tail, "")
}
