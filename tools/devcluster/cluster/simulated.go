package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// What a simulated pod has logged, in the runtime's format. It is the same for every pod.
const (
	simulatedLog = `2026-01-01T00:00:00.000000000Z stdout F simulated: started
2026-01-01T00:00:00.100000000Z stdout F simulated: this is what a simulated pod logs
`
	simulatedCrashLog = `2026-01-01T00:00:00.000000000Z stdout F simulated: started
2026-01-01T00:00:00.100000000Z stderr F error: fixture: crash-on-boot
`
)

// startSimulated creates the nodes and starts kwok, which keeps them and their pods alive.
func (c *Cluster) startSimulated(ctx context.Context, bin string) error {
	for n := range max(c.options.Nodes, 1) {
		name := fmt.Sprintf("node-%d", n)
		node := map[string]any{
			"apiVersion": "v1", "kind": "Node",
			"metadata": map[string]any{"name": name, "labels": map[string]string{
				"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			}},
		}
		if err := c.api.call(ctx, http.MethodPost, "/api/v1/nodes", node, nil); err != nil {
			return fmt.Errorf("create node %s: %w", name, err)
		}
	}
	root, err := Repository()
	if err != nil {
		return err
	}
	served, err := c.writeServed()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	p, err := c.state.start(command{name: "kwok", path: bin, env: []string{"HOME=" + c.path("node")}, args: []string{
		"--until-eof", "--kubeconfig", c.Kubeconfig, "--manage-all-nodes", "--node-lease-duration-seconds=40",
		"--config", filepath.Join(root, "tools", "kwok", "stages.yaml"), "--config", served,
		"--node-ip=127.0.0.1", fmt.Sprintf("--node-port=%d", port), fmt.Sprintf("--server-address=127.0.0.1:%d", port),
		"--tls-cert-file", c.path("plane", "certs", "apiserver.crt"), "--tls-private-key-file", c.path("plane", "certs", "apiserver.key"),
	}})
	if err != nil {
		return err
	}
	// It serves logs and port-forwards; without it nodes would turn ready, and logs fail.
	return p.await(ctx, 2*time.Minute, func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// writeServed writes what kwok serves for pods: their logs.
func (c *Cluster) writeServed() (string, error) {
	dir := c.path("node")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	text := fmt.Sprintf(`apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterLogs
metadata: {name: pods}
spec:
  logs:
  - {logsFile: %q, previousLogsFile: %q, follow: false}
`, file("pod.log"), file("crash.log"))
	for path, text := range map[string]string{
		file("served.yaml"): text, file("pod.log"): simulatedLog, file("crash.log"): simulatedCrashLog,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return file("served.yaml"), nil
}
