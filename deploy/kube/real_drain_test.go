package kube

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// An old pod goes on answering while its preStop hook runs, and what is connected to it
// is served by it: the release is not over before.
func oldPodInItsPreStop(t *testing.T, c *user, up *cluster.Cluster, digest string) {
	ns := namespace(t, c)
	role := func(version string) release.Role {
		doc := program("process.on('SIGTERM', () => process.exit(0)); "+answering, "        env: [{name: V, value: "+version+"}]", "        lifecycle: {preStop: {sleep: {seconds: 8}}}")
		doc = strings.Replace(doc, "terminationGracePeriodSeconds: 1\n", "terminationGracePeriodSeconds: 25\n", 1)
		return release.Role{Name: "web", Target: release.TargetKubernetes, Repository: up.Registry + "/app", Digest: digest,
			Objects: roleOf(t, ns, digest, strings.ReplaceAll(doc, "$IMAGE", up.Registry+"/app@"+digest), service).Objects}
	}
	_, _, err := roll(t, c, role("one"))
	require.NoError(t, err)
	var old string
	for old = range podUIDs(t, c, ns) {
	}
	answers := func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://web:3111/", nil)
		require.NoError(t, err)
		answer, err := c.AskPod(t.Context(), ns, old, req)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}
	var once sync.Once
	var said string
	answered := false
	a, err := c.Apply(t.Context(), role("two"), options(t))
	require.NoError(t, err)
	live, err := c.Wait(t.Context(), role("two"), a, Options{Timeout: time.Minute, Progress: func(e release.Event) {
		progress(t)(e)
		if e.Mark == release.MarkNote {
			once.Do(func() { said, answered = e.Message, answers() })
		}
	}})
	require.NoError(t, err)
	require.Equal(t, 1, live.Ready)
	require.Contains(t, said, "Pod "+ns+"/"+old+" is being deleted and still answers for Service "+ns+"/web")
	require.True(t, answered, "it does, while it is waited for")
	require.False(t, answers(), "and does not any more when the release is over")
	slices, err := c.kube.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
	require.NoError(t, err)
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			require.False(t, e.TargetRef.Name == old && *e.Conditions.Serving)
		}
	}
}
