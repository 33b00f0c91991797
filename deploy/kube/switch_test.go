package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestWhatIsWaitedForIsHeldByTheWaitAlone(t *testing.T) {
	live := &unstructured.Unstructured{Object: map[string]any{"kind": "Deployment"}}
	applied := apply.Applied{Results: []apply.Result{
		{Object: &object.Object{}, Action: release.ActionConfigured, Version: "7", Live: live},
		{Object: &object.Object{}, Action: release.ActionUnchanged, Live: live},
		{Object: &object.Object{}, Action: release.ActionUnchanged}, // a Job that has run
	}}
	waited := waitedFor(applied)
	require.Len(t, waited, 2)
	require.Same(t, live, waited[0].Live)
	require.True(t, waited[0].Changed)
	require.False(t, waited[1].Changed)
	for _, r := range applied.Results {
		require.Nil(t, r.Live)
	}
}
