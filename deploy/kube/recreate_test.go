package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/release"
)

// files is a commit of one file.
type files map[string]string

func (f files) ReadFile(path string) ([]byte, error) { return []byte(f[path]), nil }

func (f files) List(path string) ([]string, error) {
	if _, ok := f[path]; ok {
		return []string{path}, nil
	}
	return nil, nil
}

// The API server fills in rollingUpdate where a Deployment says nothing, and
// refuses it beside Recreate.
func TestADeploymentMayTurnToRecreate(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	rendered := func(digest, doc string) release.Role {
		role := roleOf(t, ns, digest, doc)
		objects, err := manifests.Render(manifests.Input{
			App: "kube-test", Repository: role.Repository, Digest: digest, Tree: files{"web.yaml": replaceNS(doc, ns)},
			Role: config.Role{Name: role.Name, Kubernetes: &config.Kubernetes{Namespace: ns, Manifests: []string{"web.yaml"}}},
		})
		require.NoError(t, err)
		role.Objects = objects
		return role
	}
	doc := func(role release.Role, strategy string) string {
		return strings.NewReplacer("$IMAGE", role.Repository, "  replicas: 1\n", "  replicas: 1\n"+strategy).Replace(deployment("web", 1))
	}
	some := roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, _, err := roll(t, c, rendered(digestOf("v1"), doc(some, "")))
	require.NoError(t, err)
	recreate := rendered(digestOf("v2"), doc(some, "  strategy: {type: Recreate}\n"))
	live, _, err := roll(t, c, recreate)
	require.NoError(t, err)
	require.Equal(t, 1, live.Ready)
	_, again, err := roll(t, c, recreate)
	require.NoError(t, err)
	require.False(t, again.Changed())
	_, _, err = roll(t, c, rendered(digestOf("v3"), doc(some, "")))
	require.NoError(t, err, "and back")
}

// What an earlier release applied without a strategy has one all the same, and nobody
// owns it: the API server filled it in.
func TestAWorkloadMayTurnToAnotherStrategyThanTheDefault(t *testing.T) {
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
