package main

import (
	"context"
	"os"
	"path/filepath"
)

// tool is one program under measurement.
type tool struct {
	name     string
	program  string
	version  string // "" for shipit, which is this tree
	commands commands
}

// commands says how a tool is used, each with the flags that serve it best.
type commands interface {
	// write puts an variant into the folder of a deployment, ready to be
	// deployed; what takes time here is not measured.
	write(ctx context.Context, d deployment, e variant) error
	// deploy is what a person would type to deploy it and to wait for it.
	deploy(d deployment) [][]string
	// rollback is what a person would type to go back to the variant before.
	rollback(d deployment) [][]string
	// agent begins the user agent of its requests, in lower case.
	agent() string
}

// deployment is a place that one tool deploys to, from one folder.
type deployment struct {
	*environment
	tool       tool
	namespace  string
	folder     string
	kubeconfig string // "": the administrator's
}

func (d deployment) file(name string) string { return filepath.Join(d.folder, name) }

// writeObjects writes an variant to objects.yaml; what stood there becomes
// before.yaml.
func (d deployment) writeObjects(e variant) error {
	if err := os.MkdirAll(d.folder, 0o755); err != nil {
		return err
	}
	if err := os.Rename(d.file("objects.yaml"), d.file("before.yaml")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(d.file("objects.yaml"), e.yaml(d, d.images[e.image]), 0o644)
}

type kubectlCommands struct{}

func (kubectlCommands) agent() string { return "kubectl" }

func (kubectlCommands) write(_ context.Context, d deployment, e variant) error {
	return d.writeObjects(e)
}

func (kubectlCommands) deploy(d deployment) [][]string {
	return [][]string{
		{d.tool.program, "apply", "--server-side", "--force-conflicts", "--validate=false", "-n", d.namespace, "-f", d.file("objects.yaml")},
		{d.tool.program, "rollout", "status", "deployment", "-n", d.namespace, "--timeout", d.limit.String()},
	}
}

// rollback of kubectl takes back the Deployment and nothing else.
func (kubectlCommands) rollback(d deployment) [][]string {
	return [][]string{
		{d.tool.program, "rollout", "undo", "deployment/app", "-n", d.namespace},
		{d.tool.program, "rollout", "status", "deployment/app", "-n", d.namespace, "--timeout", d.limit.String()},
	}
}

type helmCommands struct{}

func (helmCommands) agent() string { return "helm" }

func (helmCommands) write(_ context.Context, d deployment, e variant) error {
	if err := os.MkdirAll(d.file("chart/templates"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(d.file("chart/Chart.yaml"), []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(d.file("chart/templates/objects.yaml"), e.yaml(d, d.images[e.image]), 0o644)
}

func (helmCommands) deploy(d deployment) [][]string {
	return [][]string{{
		d.tool.program, "upgrade", "--install", "app", d.file("chart"), "-n", d.namespace, "--wait", "--timeout", d.limit.String(),
		"--disable-openapi-validation", "--skip-schema-validation", "--history-max", "5", "--qps", "1000", "--burst-limit", "1000",
	}}
}

func (helmCommands) rollback(d deployment) [][]string {
	return [][]string{{d.tool.program, "rollback", "app", "-n", d.namespace, "--wait", "--timeout", d.limit.String(), "--qps", "1000", "--burst-limit", "1000"}}
}

// helm4Commands are helm's, with the server-side apply and the watches of version 4.
type helm4Commands struct{ helmCommands }

func (helm4Commands) deploy(d deployment) [][]string {
	return [][]string{{
		d.tool.program, "upgrade", "--install", "app", d.file("chart"), "-n", d.namespace, "--wait=watcher", "--server-side=true", "--force-conflicts",
		"--timeout", d.limit.String(), "--disable-openapi-validation", "--skip-schema-validation", "--history-max", "5", "--qps", "1000", "--burst-limit", "1000",
	}}
}

func (helm4Commands) rollback(d deployment) [][]string {
	return [][]string{{
		d.tool.program, "rollback", "app", "-n", d.namespace, "--wait=watcher", "--server-side=true", "--force-conflicts",
		"--timeout", d.limit.String(), "--qps", "1000", "--burst-limit", "1000",
	}}
}

type kappCommands struct{}

func (kappCommands) agent() string { return "kapp" }

func (kappCommands) write(_ context.Context, d deployment, e variant) error {
	return d.writeObjects(e)
}

func (kappCommands) deploy(d deployment) [][]string { return kappDeploy(d, "objects.yaml") }

// rollback of kapp is a deploy of the files from before: it has no other.
func (kappCommands) rollback(d deployment) [][]string { return kappDeploy(d, "before.yaml") }

func kappDeploy(d deployment, file string) [][]string {
	return [][]string{{
		d.tool.program, "deploy", "-a", "app", "-n", d.namespace, "-f", d.file(file), "--yes", "--tty=false", "--logs=false",
		"--wait-timeout", d.limit.String(), "--wait-check-interval", "200ms", "--apply-check-interval", "10ms",
		"--apply-concurrency", "20", "--wait-concurrency", "20", "--app-changes-max-to-keep", "5",
		"--dangerous-scope-to-fallback-allowed-namespaces", "--existing-non-labeled-resources-check=false",
	}}
}
