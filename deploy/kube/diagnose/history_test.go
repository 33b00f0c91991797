package diagnose_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
)

func TestWhatAKubeletSaysOfEveryPodIsNoEvidence(t *testing.T) {
	h := diagnose.NewHistory()
	h.Warn(diagnose.Warning{Name: "a", Reason: "MissingClusterDNS", Message: "kubelet does not have ClusterDNS IP configured"})
	h.Warn(diagnose.Warning{Name: "b", Reason: "BackOff", Message: "Back-off restarting failed container"})
	require.Equal(t, []string{"BackOff: Back-off restarting failed container"}, h.Warnings())
}
