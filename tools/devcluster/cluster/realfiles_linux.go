package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// writeFiles writes the configuration of the node's parts into DIR/node.
func (n node) writeFiles() error {
	fill := strings.NewReplacer(
		"@NODE@", n.path(), "@ROOT@", n.root, "@PLANE@", n.c.path("plane"), "@IP@", n.net.gateway().String(),
		"@SUBNET@", n.net.String(), "@BRIDGE@", bridgeName, "@CGROUP@", n.cgroup,
		"@PAUSE@", n.c.Registry+"/shipit/pause:1",
	)
	files := map[string]string{
		"containerd.toml":        containerdConfig,
		"kubelet.yaml":           kubeletConfig,
		"cni/10-bridge.conflist": cniConfig,
		"resolv.conf":            "",
	}
	for _, registry := range []string{n.c.Registry, n.c.AuthRegistry.Registry} {
		files["certs.d/"+registry+"/hosts.toml"] = strings.ReplaceAll(hostsConfig, "@REGISTRY@", registry)
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(n.path(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.path(name), []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(n.path("scratch"), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(n.initSpec(), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(n.path("init.json"), text, 0o644)
}

// initSpec is what nodeinit is told.
func (n node) initSpec() map[string]any {
	bin := func(name string) string { return filepath.Join(n.root, "usr/bin", name) }
	env := []string{
		"PATH=" + filepath.Join(n.root, "usr/bin") + ":" + filepath.Join(n.root, "usr/sbin") + ":" + os.Getenv("PATH"),
		"LD_LIBRARY_PATH=" + strings.Join(libraryDirs(n.root), ":"),
	}
	type program struct {
		Path  string   `json:"path"`
		Args  []string `json:"args"`
		Env   []string `json:"env"`
		Log   string   `json:"log"`
		Ready string   `json:"ready"`
	}
	return map[string]any{
		"covered": covered(),
		"scratch": n.path("scratch"),
		"sysctls": []string{
			"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
			"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		},
		"run": []program{
			{Path: bin("containerd"), Args: []string{"-c", n.path("containerd.toml")}, Env: env,
				Log: n.c.path("log", "containerd.log"), Ready: "/run/containerd/containerd.sock"},
			{Path: n.tools["kubelet"], Env: env, Log: n.c.path("log", "kubelet.log"), Args: []string{
				"--config", n.path("kubelet.yaml"), "--kubeconfig", n.c.Kubeconfig,
				"--cert-dir", "/var/lib/kubelet/pki", "--hostname-override", "node-0", "--node-ip", n.net.gateway().String(),
			}},
		},
	}
}

// libraryDirs are where unpacked packages have shared libraries.
func libraryDirs(root string) []string {
	dirs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	return dirs
}

const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "@ROOT@/usr/lib/cni"
    conf_dir = "@NODE@/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "@ROOT@/usr/sbin/runc"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "@NODE@/certs.d"
`

// The registries are on loopback and speak plain HTTP.
const hostsConfig = `server = "http://@REGISTRY@"
[host."http://@REGISTRY@"]
  capabilities = ["pull", "resolve"]
`

// The bridge is there already, with the node's address on it: the plugin need
// not be a gateway, and so does not switch on forwarding for the whole machine.
const cniConfig = `{"cniVersion": "0.4.0", "name": "shipit", "plugins": [
  {"type": "bridge", "bridge": "@BRIDGE@", "isGateway": false, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "@SUBNET@", "gateway": "@IP@"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}
]}
`

// The kubelet listens on the bridge only, and only to this API server.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "@IP@"
port: 10250
readOnlyPort: 0
healthzPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: "@PLANE@/kubelet-client.crt"}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"
resolvConf: "@NODE@/resolv.conf"
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: "/@CGROUP@"
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
serializeImagePulls: false
`
