package deploy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// versioned is a release of a commit with a version, whose bits are its own.
func versioned(version string) release.Release {
	rel := releaseOf(fmt.Sprintf("%040x", version), "sha256:"+version, "cluster")
	rel.Version = version
	return rel
}

func TestADowngradeIsRefusedUnlessItIsAllowed(t *testing.T) {
	refuses := func(t *testing.T, err error) {
		t.Helper()
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Len(t, refusal.Findings, 1)
		require.Equal(t, release.CodeDowngrade, refusal.Findings[0].Code)
	}
	after := func(t *testing.T, versions ...string) *app {
		a := newApp(t, "cluster")
		for _, v := range versions {
			_, err := a.ship(t, versioned(v), deploy.Terms{})
			require.NoError(t, err)
		}
		a.target.calls = nil
		return a
	}

	t.Run("it is refused before anything changes, and in the plan", func(t *testing.T) {
		a := after(t, "1.4.1")
		_, err := a.ship(t, versioned("1.4.0"), deploy.Terms{})
		refuses(t, err)
		require.Empty(t, a.target.calls)
		history, err := a.Read(t.Context())
		require.NoError(t, err)
		plan, err := a.Plan(t.Context(), versioned("1.4.0"), deploy.Terms{History: history}, nil)
		require.NoError(t, err)
		require.Equal(t, release.CodeDowngrade, plan.Findings[0].Code)
	})
	t.Run("allowed, it is released and recorded as allowed", func(t *testing.T) {
		a := after(t, "1.4.1")
		record, err := a.ship(t, versioned("1.4.0"), deploy.Terms{Allow: []release.Code{release.CodeDowngrade}})
		require.NoError(t, err)
		require.True(t, record.Good())
		require.Equal(t, []release.Code{release.CodeDowngrade}, record.Allowed)
	})
	t.Run("what counts is the newest good record", func(t *testing.T) {
		a := after(t, "1.4.0")
		a.target.switches = crash("cluster", "sha256:1.5.0")
		record, err := a.ship(t, versioned("1.5.0"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		_, err = a.ship(t, versioned("1.4.1"), deploy.Terms{})
		require.NoError(t, err)
	})
	t.Run("however many failed since", func(t *testing.T) {
		a := after(t, "1.4.0")
		a.target.switches = crash("cluster", "sha256:1.5.0")
		for range 6 {
			_, err := a.ship(t, versioned("1.5.0"), deploy.Terms{})
			require.NoError(t, err)
		}
		_, err := a.ship(t, versioned("1.3.0"), deploy.Terms{})
		refuses(t, err)
	})
	t.Run("a rollback is none, and what follows it goes up from there", func(t *testing.T) {
		a := after(t, "1.4.0", "1.5.0")
		_, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		_, err = a.ship(t, versioned("1.4.1"), deploy.Terms{})
		require.NoError(t, err)
	})
	t.Run("nor is a commit whose version has no order", func(t *testing.T) {
		a := after(t, "1.4.1-dev.2.gfffffff")
		_, err := a.ship(t, versioned("1.4.1-dev.1.gaaaaaaa"), deploy.Terms{})
		require.NoError(t, err)
	})
	t.Run("another run that lands meanwhile counts", func(t *testing.T) {
		a := after(t, "1.4.0")
		a.target.asked = func() {
			_, err := a.ship(t, versioned("1.5.0"), deploy.Terms{})
			require.NoError(t, err)
		}
		_, err := a.ship(t, versioned("1.4.1"), deploy.Terms{})
		refuses(t, err)
		require.Equal(t, "sha256:1.5.0", a.target.runs["cluster"])
		a.target.asked = func() {
			_, err := a.ship(t, versioned("1.6.0"), deploy.Terms{})
			require.NoError(t, err)
		}
		record, err := a.ship(t, versioned("1.5.1"), deploy.Terms{Allow: []release.Code{release.CodeDowngrade}})
		require.NoError(t, err)
		require.Equal(t, []release.Code{release.CodeDowngrade}, record.Allowed)
	})
}

func TestARollbackToARangeOfVersionsPrefersReleases(t *testing.T) {
	a := newApp(t, "cluster")
	for _, v := range []string{"1.4.0", "1.4.1-dev.1.gaaaaaaa", "1.4.1-dev.2.gaaaaaaa", "1.4.1-dev.3.gaaaaaaa", "1.4.1-dev.4.gaaaaaaa", "1.5.0"} {
		_, err := a.ship(t, versioned(v), deploy.Terms{})
		require.NoError(t, err)
	}
	record, err := a.Rollback(t.Context(), "~1.4-0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, "1.4.0", record.Version, "however much is read of the ledger before it is found")
	record, err = a.Rollback(t.Context(), "~1.4.1-0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, "1.4.1-dev.4.gaaaaaaa", record.Version)
}
