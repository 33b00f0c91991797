package manifests

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/config"
)

// generate makes the objects of a role that names no manifests: a Deployment,
// and a Service if it has a port.
func generate(in roleInput) []object {
	objects := []object{{fields: deployment(in)}}
	if in.Role.Port > 0 {
		objects = append(objects, object{fields: service(in)})
	}
	return objects
}

func deployment(in roleInput) map[string]any {
	k := in.Role.Kubernetes
	replicas := 1
	if k.Replicas != nil {
		replicas = *k.Replicas
	}
	return map[string]any{
		"apiVersion": "apps/v1",
		"kind":       "Deployment",
		"metadata":   map[string]any{"name": instance(in.App, in.Role.Name)},
		"spec": map[string]any{
			"replicas": replicas,
			"selector": map[string]any{"matchLabels": selector(in)},
			// The old pods serve until a new one is ready.
			"strategy": map[string]any{
				"type":          "RollingUpdate",
				"rollingUpdate": map[string]any{"maxSurge": 1, "maxUnavailable": 0},
			},
			"template": map[string]any{
				"metadata": map[string]any{"labels": selector(in)},
				"spec":     podSpec(in),
			},
		},
	}
}

// selector is what a Deployment can never change: app and role, nothing else.
func selector(in roleInput) map[string]any {
	return map[string]any{
		"app.kubernetes.io/name":     in.App,
		"app.kubernetes.io/instance": instance(in.App, in.Role.Name),
	}
}

func podSpec(in roleInput) map[string]any {
	k := in.Role.Kubernetes
	spec := map[string]any{
		"containers":      []any{container(in)},
		"securityContext": podSecurity(in.Image.UserOr()),
	}
	if k.ServiceAccount != "" {
		spec["serviceAccountName"] = k.ServiceAccount
	} else {
		spec["automountServiceAccountToken"] = false
	}
	if len(k.PullSecrets) > 0 {
		var secrets []any
		for _, name := range k.PullSecrets {
			secrets = append(secrets, map[string]any{"name": name})
		}
		spec["imagePullSecrets"] = secrets
	}
	return spec
}

func container(in roleInput) map[string]any {
	k := in.Role.Kubernetes
	c := map[string]any{
		"name":  in.Role.Name,
		"image": in.Repository,
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false,
			"capabilities":             map[string]any{"drop": []any{"ALL"}},
		},
	}
	if in.Role.Port > 0 {
		c["ports"] = []any{map[string]any{"name": "http", "containerPort": in.Role.Port, "protocol": "TCP"}}
	}
	if probe := readiness(in.Role); probe != nil {
		c["readinessProbe"] = probe
	}
	if len(k.EnvFrom) > 0 {
		var sources []any
		for _, name := range k.EnvFrom {
			sources = append(sources, map[string]any{"secretRef": map[string]any{"name": name}})
		}
		c["envFrom"] = sources
	}
	if len(k.Resources) > 0 {
		resources := map[string]any{}
		for _, kind := range slices.Sorted(maps.Keys(k.Resources)) {
			resources[kind] = k.Resources[kind]
		}
		c["resources"] = resources
	}
	return c
}

// readiness is the role's first HTTP probe as Kubernetes can ask it: by status
// alone. What else it expects is asked when the role was switched.
func readiness(role config.Role) map[string]any {
	for _, p := range role.AllProbes() {
		port := p.Port
		if port == 0 {
			port = role.Port
		}
		if p.Path == "" || port == 0 {
			continue
		}
		return map[string]any{
			"httpGet":       map[string]any{"path": p.Path, "port": port},
			"periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3,
		}
	}
	return nil
}

// podSecurity runs the pod as the image's user: uid or uid:gid.
func podSecurity(user string) map[string]any {
	uidText, gidText, hasGroup := strings.Cut(user, ":")
	uid, _ := strconv.Atoi(uidText) // digits, as the configuration was checked
	security := map[string]any{"runAsUser": uid, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
	if uid != 0 {
		security["runAsNonRoot"] = true
	}
	if gid, err := strconv.Atoi(gidText); hasGroup && err == nil {
		security["runAsGroup"] = gid
	}
	return security
}

func service(in roleInput) map[string]any {
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Service",
		"metadata":   map[string]any{"name": instance(in.App, in.Role.Name)},
		"spec": map[string]any{
			"selector": selector(in),
			"ports": []any{map[string]any{
				"name": "http", "port": in.Role.Port, "targetPort": in.Role.Port, "protocol": "TCP",
			}},
		},
	}
}
