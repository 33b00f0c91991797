package deploy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestRestartsBeforeTheReleaseAreNoFaultOfTheWayBack(t *testing.T) {
	a := shipped(t, "cluster")
	a.target.switches = crash("cluster", newBits)
	a.target.restarts = "was restarted 3 times, last 5m0s ago"
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, status.Record.Drift, 1, "they are told all the same")
	require.Equal(t, release.DriftUnready, status.Record.Drift[0].Kind)

	a.target.stopped["cluster"] = true
	record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome, "what does not run is one")
}
