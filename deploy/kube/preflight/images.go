package preflight

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// images tries to read every image as the kubelet will: with each pull secret of the
// pod or of its service account, and without any.
func (r *run) images(ctx context.Context) error {
	if r.o.CanPull == nil {
		return nil
	}
	var tried sync.Map
	return r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		secrets, err := r.pullSecrets(ctx, role, w)
		if err != nil {
			return err
		}
		for _, image := range imagesOf(&w.pod.Spec) {
			key := fmt.Sprint(image, w.ID.Namespace, secrets)
			if _, done := tried.LoadOrStore(key, true); done {
				continue
			}
			r.pull(ctx, pullAttempt{role, w, image, secrets})
		}
		return nil
	})
}

// imagesOf are the distinct images of a pod that the kubelet may pull.
func imagesOf(spec *corev1.PodSpec) []string {
	var out []string
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			if c.ImagePullPolicy != corev1.PullNever && !slices.Contains(out, c.Image) {
				out = append(out, c.Image)
			}
		}
	}
	return out
}

// pullSecret is one pull secret.
type pullSecret struct {
	name   string
	config []byte // nil: it may not be read, or holds none
}

// pullSecrets reads those of the pod and of its service account, in the order in
// which the kubelet has them. One that is missing is a warning: the kubelet goes
// on without it.
func (r *run) pullSecrets(ctx context.Context, role *role, w workload) ([]pullSecret, error) {
	var names []string
	for _, ref := range w.pod.Spec.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	account := cmp.Or(w.pod.Spec.ServiceAccountName, "default")
	live, err := r.read(ctx, object.ID{Kind: "ServiceAccount", Namespace: w.ID.Namespace, Name: account})
	if err != nil && client.IsForbidden(err) == nil {
		return nil, fmt.Errorf("read service account %s: %w", account, err)
	}
	if live != nil && len(names) == 0 {
		refs, _, _ := unstructured.NestedSlice(live.Object, "imagePullSecrets")
		for _, r := range refs {
			if m, ok := r.(map[string]any); ok {
				name, _ := m["name"].(string)
				names = append(names, name)
			}
		}
	}
	var out []pullSecret
	for _, name := range names {
		live, err := r.read(ctx, object.ID{Kind: "Secret", Namespace: w.ID.Namespace, Name: name})
		forbidden := client.IsForbidden(err)
		switch {
		case forbidden != nil:
			r.found(release.Finding{Code: release.CodeUnchecked, Severity: release.Warns, Role: role.Name, Object: w.ID.String(),
				Message: fmt.Sprintf("pull secret %s is not checked: %s", name, forbidden), Hint: forbidden.Hint()})
			out = append(out, pullSecret{name: name})
		case err != nil:
			return nil, fmt.Errorf("read pull secret %s: %w", name, err)
		case live == nil:
			r.found(release.Finding{Code: release.CodePullSecretMissing, Severity: release.Warns, Role: role.Name, Object: w.ID.String(),
				Message: fmt.Sprintf("pull secret %s does not exist; the image is pulled without it", name),
				Hint:    "kubectl create secret docker-registry " + name + " -n " + w.ID.Namespace})
		default:
			out = append(out, pullSecret{name: name, config: dockerConfig(live)})
		}
	}
	return out, nil
}

// dockerConfig is the content of a pull secret; nil if it holds none.
func dockerConfig(u *unstructured.Unstructured) []byte {
	const key = ".dockerconfigjson"
	if text, ok, _ := unstructured.NestedString(u.Object, "stringData", key); ok {
		return []byte(text)
	}
	coded, _, _ := unstructured.NestedString(u.Object, "data", key)
	config, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(config) == 0 {
		return nil
	}
	return config
}

// pullAttempt is one image of a workload, and the secrets to pull it with.
type pullAttempt struct {
	role    *role
	of      workload
	image   string
	secrets []pullSecret
}

// pull finds whether one image can be pulled with any of the secrets, or without.
func (r *run) pull(ctx context.Context, a pullAttempt) {
	var c *diagnose.Cause
	var names []string
	for _, secret := range append(a.secrets, pullSecret{}) {
		if secret.config == nil && secret.name != "" {
			return // one that may not be read might open it
		}
		err := r.canPull(ctx, a.image, secret)
		if err == nil {
			return
		}
		if secret.name != "" {
			names = append(names, secret.name)
		}
		// What a secret is told counts for more than what a client without one is told, and
		// that the image is absent for more than that a secret may not ask.
		if c == nil || secret.name != "" && c.Code == release.CodePullDenied {
			said := diagnose.Pull(a.image, release.OneLine(err.Error()))
			c = &said
		}
	}
	if ctx.Err() != nil {
		return
	}
	f := release.Finding{Code: c.Code, Severity: release.Refuses, Role: a.role.Name, Object: a.of.ID.String(), Hint: c.Hint}
	with := "without a pull secret"
	if len(names) > 0 {
		with = "with pull secret " + strings.Join(names, ", ")
	}
	f.Message = fmt.Sprintf("%s cannot be pulled %s: %s", a.image, with, c.Message)
	if c.Code == release.CodeRegistryUnreachable || c.Code == release.CodePullFailed {
		f.Severity, f.Hint = release.Warns, "the registry could not be asked from here; the nodes may reach it"
	}
	r.found(f)
}

func (r *run) canPull(ctx context.Context, image string, secret pullSecret) error {
	ctx, cancel := askingRegistry(ctx)
	defer cancel()
	return r.o.CanPull(ctx, image, secret.config)
}

// askingRegistry limits how long a registry may take to answer: that it does not is
// only a warning, and a rollback must not wait for it.
func askingRegistry(ctx context.Context) (context.Context, context.CancelFunc) {
	const limit = 5 * time.Second
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("the registry does not answer within %s", limit))
}
