package preflight

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/release"
)

func TestAnImageHasThePlatformOfEveryNodeThatMayGetAPod(t *testing.T) {
	nodes := func(architectures ...string) (out []*corev1.Node) {
		for _, a := range architectures {
			n := &corev1.Node{}
			n.Status.NodeInfo.OperatingSystem, n.Status.NodeInfo.Architecture = "linux", a
			out = append(out, n)
		}
		return out
	}
	both := []string{"darwin/arm64", "linux/arm64/v8"}
	_, lacks := platformFinding(both, nodes("arm64", "arm64"))
	require.False(t, lacks, "what else the image is for does not matter")
	_, lacks = platformFinding(both, []*corev1.Node{{}})
	require.False(t, lacks, "a node that does not say what it is")
	f, lacks := platformFinding(both, nodes("amd64", "amd64"))
	require.True(t, lacks)
	require.Equal(t, "the image is for darwin/arm64, linux/arm64/v8 and the nodes are linux/amd64", f.Message)
	require.Equal(t, release.Refuses, f.Severity)
	f, lacks = platformFinding(both, nodes("arm64", "amd64"))
	require.True(t, lacks)
	require.Equal(t, "the image is for darwin/arm64, linux/arm64/v8, and some of the nodes that may get its pods are linux/amd64", f.Message)
	require.Equal(t, release.Refuses, f.Severity, "a pod that gets there does not start")
	require.Contains(t, f.Hint, "kubernetes.io/arch")
}
