package kube

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/deploy/kube/rollout"
	"github.com/joelhooks/shipit/release"
)

// Mask hides the values of the Secrets that the role's pods are given.
func (t *Target) Mask(ctx context.Context, role release.Role) (func(string) string, error) {
	objects, err := object.Parse(role)
	if err != nil {
		return nil, err
	}
	var values []string
	for _, o := range objects {
		template := object.PodTemplate(o.Body)
		if template == nil {
			continue
		}
		var pod corev1.Pod
		raw, err := json.Marshal(template)
		if err == nil {
			err = json.Unmarshal(raw, &pod)
		}
		if err != nil {
			return nil, err
		}
		pod.Namespace = o.ID.Namespace
		of, err := rollout.SecretValues(ctx, t.client, &pod)
		if err != nil {
			return nil, err
		}
		values = append(values, of...)
	}
	return func(text string) string { return release.Redact(text, values) }, nil
}

// Reach is what the role's containers are told by their environment, and the Services that
// lead to its port.
func (t *Target) Reach(role release.Role) deploy.Reach {
	objects, err := object.Parse(role)
	if err != nil {
		return deploy.Reach{}
	}
	configured, _ := t.cfg.Role(role.Name)
	return deploy.Reach{Env: object.Env(objects), Hosts: object.ServiceNames(objects, configured.Port)}
}
