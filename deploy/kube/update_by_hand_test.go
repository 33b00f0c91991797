package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/release"
)

func TestPodsThatAreUpdatedByHand(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for name, tc := range map[string]struct{ strategy, kept string }{
		"OnDelete":    {"updateStrategy: {type: OnDelete}", "OnDelete"},
		"a partition": {"updateStrategy: {rollingUpdate: {partition: 1}}", "partition: 1"},
	} {
		t.Run(name+" is said before, and told after", func(t *testing.T) {
			ns := namespace(t, c)
			of := func(extra string) release.Role {
				doc := strings.Replace(workload("StatefulSet"), "spec:\n", "spec:\n  replicas: 2\n  "+tc.strategy+"\n", 1)
				return roleOf(t, ns, digestOf("v1"), strings.Replace(doc, "image: $IMAGE", "image: $IMAGE"+extra, 1))
			}
			said := func(role release.Role) []release.Finding {
				result, err := c.Preflight(t.Context(), role, preflight.Options{})
				require.NoError(t, err)
				var out []release.Finding
				for _, f := range result.Findings {
					if f.Code == release.CodeUpdateByHand {
						out = append(out, f)
					}
				}
				return out
			}
			drift := func(role release.Role) []release.Drift {
				live, err := c.Observe(t.Context(), role)
				require.NoError(t, err)
				return release.Compare(release.Release{Roles: []release.Role{role}}, map[string]release.Live{role.Name: live})
			}
			v1, v2 := of(""), of(", env: [{name: A, value: b}]")
			require.Empty(t, said(v1), "the first pods are all of the first revision")
			_, _, err := roll(t, c, v1)
			require.NoError(t, err)
			require.Empty(t, drift(v1))

			findings := said(v2)
			require.Len(t, findings, 1)
			require.Equal(t, release.Warns, findings[0].Severity)
			require.Contains(t, findings[0].Message, tc.kept)
			_, _, err = roll(t, c, v2)
			require.NoError(t, err)
			drifts := drift(v2)
			require.Len(t, drifts, 1, "the digest is the right one, the revision is not")
			require.Equal(t, release.DriftUnready, drifts[0].Kind)
			require.Contains(t, drifts[0].Detail, tc.kept)

			if name == "OnDelete" {
				require.NoError(t, c.kube.CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
				require.Eventually(t, func() bool { return len(drift(v2)) == 0 }, time.Minute, 100*time.Millisecond, "they are deleted, and all is well")
			}
		})
	}
}
