package kube

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/release"
)

// pulls tries every image as the kubelet will: with each pull secret of the pod
// and of its service account, and without any.
func (s *survey) pulls(ctx context.Context) error {
	if s.o.CanPull == nil {
		return nil
	}
	var tried sync.Map
	return s.eachPod(ctx, func(ctx context.Context, p part, t template) error {
		secrets, err := s.pullSecrets(ctx, p, t)
		if err != nil {
			return err
		}
		for _, image := range images(&t.spec) {
			key := fmt.Sprint(image, t.object.id.Namespace, secrets)
			if _, done := tried.LoadOrStore(key, true); done {
				continue
			}
			s.pull(ctx, p, t, image, secrets)
		}
		return nil
	})
}

// images are the distinct images of a pod.
func images(spec *corev1.PodSpec) []string {
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

// pullSecret is one that could be read.
type pullSecret struct {
	name   string
	config []byte
}

// pullSecrets reads those of the pod and of its service account, in the order in
// which the kubelet has them. One that is missing is a warning: the kubelet goes
// on without it.
func (s *survey) pullSecrets(ctx context.Context, p part, t template) ([]pullSecret, error) {
	var names []string
	for _, ref := range t.spec.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	account := firstOf(t.spec.ServiceAccountName, "default")
	live, err := s.read(ctx, ID{Kind: "ServiceAccount", Namespace: t.object.id.Namespace, Name: account})
	var forbidden *ForbiddenError
	if err != nil && !errors.As(err, &forbidden) {
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
		live, err := s.read(ctx, ID{Kind: "Secret", Namespace: t.object.id.Namespace, Name: name})
		switch {
		case errors.As(err, &forbidden):
			s.find(release.Finding{Code: release.CodeUnchecked, Severity: release.Warns, Role: p.role.Name, Object: t.object.id.String(),
				Message: fmt.Sprintf("pull secret %s is not tried: %s", name, forbidden), Hint: forbidden.Hint()})
			out = append(out, pullSecret{name: name})
		case err != nil:
			return nil, fmt.Errorf("read pull secret %s: %w", name, err)
		case live == nil:
			s.find(release.Finding{Code: release.CodePullSecretMissing, Severity: release.Warns, Role: p.role.Name, Object: t.object.id.String(),
				Message: fmt.Sprintf("pull secret %s is not there; the image is pulled without it", name),
				Hint:    "kubectl create secret docker-registry " + name + " -n " + t.object.id.Namespace})
		default:
			out = append(out, pullSecret{name: name, config: dockerConfig(live)})
		}
	}
	return out, nil
}

// dockerConfig is the content of a pull secret; nil if it holds none.
func dockerConfig(u *unstructured.Unstructured) []byte {
	const key = ".dockerconfigjson"
	if plain, ok, _ := unstructured.NestedString(u.Object, "stringData", key); ok {
		return []byte(plain)
	}
	coded, _, _ := unstructured.NestedString(u.Object, "data", key)
	config, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(config) == 0 {
		return nil
	}
	return config
}

// pull finds whether one image can be had with any of the secrets.
func (s *survey) pull(ctx context.Context, p part, t template, image string, secrets []pullSecret) {
	var last error
	var names []string
	for _, secret := range append(secrets, pullSecret{}) {
		if secret.config == nil && secret.name != "" {
			return // one that may not be read might open it
		}
		if last = s.o.CanPull(ctx, image, secret.config); last == nil {
			return
		}
		if secret.name != "" {
			names = append(names, secret.name)
		}
	}
	if ctx.Err() != nil {
		return
	}
	c := ofPull(image, oneLine(last.Error()))
	f := release.Finding{Code: c.code, Severity: release.Refuses, Role: p.role.Name, Object: t.object.id.String(), Hint: c.hint}
	with := "without a pull secret"
	if len(names) > 0 {
		with = "with pull secret " + strings.Join(names, ", ")
	}
	f.Message = fmt.Sprintf("%s cannot be pulled %s: %s", image, with, c.message)
	if c.code == release.CodeRegistryUnreachable || c.code == release.CodePullFailed {
		f.Severity, f.Hint = release.Warns, "the registry could not be asked from here; the nodes may reach it"
	}
	s.find(f)
}
