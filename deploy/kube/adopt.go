package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// Adopt reads the objects that a role is to have and that exist already, whoever made
// them, with the image that their pods run if it is one.
func (t *Target) Adopt(ctx context.Context, step deploy.Step) (deploy.Adoption, error) {
	state, _, err := t.state(ctx, step)
	if err != nil {
		return deploy.Adoption{}, err
	}
	out := deploy.Adoption{Role: step.Role}
	out.Role.Digest, out.Role.Key, out.Role.Aliases, out.Role.Objects = "", "", nil, nil
	for _, o := range state.Objects {
		live := state.Live(o.ID)
		if live == nil {
			continue
		}
		body, why := object.Adopt(live)
		if why != "" {
			out.Left = append(out.Left, why)
		}
		if body == nil {
			continue
		}
		raw, err := json.Marshal(body)
		if err != nil {
			return deploy.Adoption{}, fmt.Errorf("%s: %w", o.ID, err)
		}
		out.Role.Objects = append(out.Role.Objects, raw)
	}
	if out.Found = len(out.Role.Objects) > 0; !out.Found {
		return deploy.Adoption{}, nil
	}
	out.Role.Repository = repositoryOf(state, step.Role.Repository)
	seen, err := observe(ctx, t.client, out.Role)
	if err != nil {
		return deploy.Adoption{}, err
	}
	if out.Live = seen.Live; len(out.Live.Digests) == 1 {
		out.Role.Digest = out.Live.Digest()
	}
	return out, nil
}

// repositoryOf is where the image comes from that live workloads run in place of the
// role's: that of the container with the same name, or else of the first one.
func repositoryOf(state apply.State, repository string) string {
	for _, o := range state.Objects {
		live := state.Live(o.ID)
		names := containersOf(o, repository)
		if live == nil || !o.Serves() || len(names) == 0 {
			continue
		}
		first := ""
		for _, c := range containers(live) {
			name, _ := c["name"].(string)
			image, _ := c["image"].(string)
			if names[name] {
				return withoutTag(image)
			}
			if first == "" {
				first = withoutTag(image)
			}
		}
		return first
	}
	return repository
}

// containers are those of a pod or of a workload's template.
func containers(u *unstructured.Unstructured) []map[string]any {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if t := object.PodTemplate(u); t != nil {
		spec, _ = t["spec"].(map[string]any)
	}
	var out []map[string]any
	list, _ := spec["containers"].([]any)
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// withoutTag is the repository of an image reference, as it is written there.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
	return ref
}
