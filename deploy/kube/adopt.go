package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
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
		for _, where := range object.LiteralSecrets(live, o.Body) {
			out.Findings = append(out.Findings, release.Finding{
				Code: release.CodeAdoptedSecret, Severity: release.Refuses, Role: step.Role.Name, Object: o.ID.String(),
				Message: where + " holds what looks like a secret in plain text, which would be kept with record #0 and its copy in the registry",
				Hint:    "move it into a Secret that the workload refers to, and release then; --allow " + string(release.CodeAdoptedSecret) + " if it is no secret",
			})
		}
	}
	if out.Found = len(out.Role.Objects) > 0; !out.Found {
		return deploy.Adoption{}, nil
	}
	out.Role.Repository = repositoryOf(state, step.Role.Repository)
	found, err := readRunning(ctx, t.client, out.Role)
	if err != nil {
		return deploy.Adoption{}, err
	}
	if out.Live, _ = observe(ctx, t.client, out.Role, found); len(out.Live.Digests) == 1 {
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
		for _, c := range object.Containers(live, "containers") {
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

// withoutTag is the repository of an image reference, as it is written there.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
	return ref
}
