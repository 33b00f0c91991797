package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// What an earlier release applied without a strategy has one all the same, and nobody
// owns it: the API server filled it in.
func TestAWorkloadMayTurnToAnotherStrategyThanTheDefault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ before, after, line string }{
		"a Deployment": {
			deployment("web", 1), strings.Replace(deployment("web", 1), "  replicas: 1\n", "  replicas: 1\n  strategy: {type: Recreate}\n", 1),
			`- spec.strategy.rollingUpdate.maxSurge: "25%"`,
		},
		"a StatefulSet": {
			workload("StatefulSet"), strings.Replace(workload("StatefulSet"), "spec:\n  serviceName", "spec:\n  updateStrategy: {type: OnDelete}\n  serviceName", 1),
			"- spec.updateStrategy.rollingUpdate.partition: 0",
		},
		"a DaemonSet": {
			workload("DaemonSet"), strings.Replace(workload("DaemonSet"), "spec:\n  selector", "spec:\n  updateStrategy: {type: OnDelete}\n  selector", 1),
			"- spec.updateStrategy.rollingUpdate.maxUnavailable: 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := stand(t, tc.before)
			s.release()
			s.state(tc.after)
			checked, err := s.target.Preflight(t.Context(), s.step.Release, s.step.Release.Roles, false)
			require.NoError(t, err)
			require.Nil(t, release.Refuse(checked.Findings, nil))
			require.Contains(t, s.differs(), tc.line)
			s.release()
			require.Empty(t, s.differs())
			s.state(tc.before)
			s.release()
			require.Empty(t, s.differs(), "and back")
		})
	}
}
