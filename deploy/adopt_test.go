package deploy_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

const foundBits = "sha256:f0d"

// running is an app that was never released, and whose roles run what another hand has
// started.
func running(t *testing.T, roles ...string) *app {
	t.Helper()
	a := newApp(t, roles...)
	for _, role := range roles {
		a.target.runs[role] = foundBits
	}
	return a
}

func TestWhatRanBeforeTheFirstReleaseIsPutBackIfItFails(t *testing.T) {
	a := running(t, "cluster", "gateway")
	delete(a.target.runs, "gateway") // what only the release brings goes away again
	a.target.switches = crash("gateway", oldBits)
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Zero(t, record.Restored)
	require.Equal(t, "restored (#0 runs again)", record.OutcomeText())
	require.Equal(t, "#0 runs again", record.Roles[0].Reason)
	require.Equal(t, map[string]string{"cluster": foundBits}, a.target.runs)

	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Record.Parity)
	require.EqualValues(t, 0, status.Record.Seq)
	require.EqualValues(t, 1, status.Newest.Seq)
	require.True(t, status.Record.Adopted)
	require.Equal(t, release.KindRelease, status.Record.Kind)
	require.Empty(t, status.Record.SHA, "nobody knows its commit")
	require.Equal(t, foundBits, status.Record.Roles[0].LiveDigest)
}

func TestARollbackGoesToWhatRanBeforeTheFirstRelease(t *testing.T) {
	for _, to := range []string{"0", "#0", ""} {
		t.Run("named "+to, func(t *testing.T) {
			a := running(t, "cluster")
			a.target.left = []string{"Secret bus/token"}
			record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
			require.NoError(t, err)
			require.Equal(t, release.Settled, record.Outcome)
			require.EqualValues(t, 1, record.Seq)
			require.Zero(t, record.Previous)
			require.NotEmpty(t, record.PreviousHash, "it follows #0")
			records, err := a.Ledger.List(t.Context(), 0, 0)
			require.NoError(t, err)
			require.Len(t, records, 2)
			require.True(t, records[1].Good())
			require.Equal(t, "not kept: Secret bus/token", records[1].Roles[0].Reason)

			record, err = a.Rollback(t.Context(), to, deploy.Terms{})
			require.NoError(t, err)
			require.Equal(t, release.Settled, record.Outcome)
			require.Equal(t, release.KindRollback, record.Kind)
			require.True(t, record.Adopted)
			require.EqualValues(t, 2, record.Seq)
			require.Equal(t, foundBits, a.target.runs["cluster"])
			status, err := a.Status(t.Context())
			require.NoError(t, err)
			require.True(t, status.Record.Parity)

			_, err = a.Rollback(t.Context(), "", deploy.Terms{})
			var none *release.NoneError
			require.ErrorAs(t, err, &none, "nothing is before it")
			record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
			require.NoError(t, err)
			require.True(t, record.Parity, "and on it goes")
			_, checks, err := a.Verify(t.Context(), -1, 0)
			require.NoError(t, err)
			for _, check := range checks {
				require.True(t, check.OK, check)
			}
			require.Equal(t, deploy.SubjectLive, checks[len(checks)-1].Subject)
		})
	}
}

func TestWhatRanBeforeAndWasNotReadyIsPutBackAndNoReleaseToGoTo(t *testing.T) {
	a := running(t, "cluster")
	a.target.stopped["cluster"] = true
	a.target.switches = crash("cluster", oldBits)
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome)
	require.Contains(t, record.Reason, "what ran before was not ready, and is put back as it was")
	require.Equal(t, foundBits, a.target.runs["cluster"])
	_, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	var none *release.NoneError
	require.ErrorAs(t, err, &none)
}

func TestWhatCouldNotBeTakenAwayIsToldOfTheReleaseThatBroughtIt(t *testing.T) {
	a := running(t, "cluster", "gateway")
	delete(a.target.runs, "gateway")
	a.target.stopped["cluster"] = true
	a.target.switches = crash("gateway", oldBits)
	a.target.stuck["gateway"] = errors.New("it stays")
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	require.Contains(t, record.Reason, "remove gateway of #1 01d0000: it stays")
	require.NotContains(t, record.Reason, "is put back as it was")
}

func TestWhatRanBeforeIsNotReleasedOverUnsignedWhereAPolicyVerifies(t *testing.T) {
	for name, verify := range map[string]func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error){
		"a policy verifies": func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error) {
			return deploy.Verified{}, nil
		},
		"nobody asks": nil,
	} {
		t.Run(name, func(t *testing.T) {
			a := running(t, "cluster")
			signatures := 0
			a.Ledger = ledger.New(a.store, "bus", ledger.Options{Sign: func(context.Context, []byte) ([]byte, error) {
				if signatures++; signatures == 2 { // the first is that of the release
					return nil, errors.New("the signer went away")
				}
				return []byte("{}"), nil
			}})
			a.Policy.Verify = verify
			record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
			if verify == nil {
				require.NoError(t, err)
				require.Equal(t, release.Settled, record.Outcome)
				return
			}
			var unchanged *deploy.UnchangedError
			require.ErrorAs(t, err, &unchanged, "nothing could bring it back")
			require.ErrorContains(t, err, "the signer went away")
			require.Equal(t, foundBits, a.target.runs["cluster"])
		})
	}
}

func TestWhatShouldNotBeRecordedOfWhatRanBeforeIsRefusedUnlessItIsAllowedByName(t *testing.T) {
	secret := release.Finding{Code: release.CodeAdoptedSecret, Severity: release.Refuses, Role: "cluster", Message: "it holds a secret"}
	refused := func(t *testing.T, a *app, err error) {
		t.Helper()
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, []release.Finding{secret}, refusal.Findings)
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		require.Equal(t, foundBits, a.target.runs["cluster"])
		records, err := a.Ledger.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Empty(t, records)
	}
	rel := releaseOf(oldSHA, oldBits, "cluster")
	a := running(t, "cluster")
	a.target.plain = []release.Finding{secret}
	plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Contains(t, plan.Findings, secret)
	_, err = a.ship(t, rel, deploy.Terms{})
	refused(t, a, err)
	require.Empty(t, a.target.prepared, "it is known before anything is prepared")
	record, err := a.ship(t, rel, deploy.Terms{Allow: []release.Code{secret.Code}})
	require.NoError(t, err)
	require.Equal(t, []release.Code{secret.Code}, record.Allowed)
	record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err, "nothing is adopted by the second")
	require.Empty(t, record.Allowed)

	a = running(t, "cluster")
	a.target.prepares = func(release.Role) error { a.target.plain = []release.Finding{secret}; return nil }
	_, err = a.ship(t, rel, deploy.Terms{})
	refused(t, a, err)
}

func TestWhatRanBeforeIsNotReleasedOverWhereItCannotBeRead(t *testing.T) {
	a := running(t, "cluster")
	a.target.away["cluster"] = errors.New("no route to host")
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	var unchanged *deploy.UnchangedError
	require.ErrorAs(t, err, &unchanged)
	require.ErrorContains(t, err, "read what runs before the first release: cluster: no route to host")
	require.Equal(t, foundBits, a.target.runs["cluster"])
	records, err := a.Ledger.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestAFirstReleaseThatWasKilledGoesBackToWhatRanBefore(t *testing.T) {
	a := running(t, "cluster", "gateway")
	ctx, kill := context.WithCancel(t.Context())
	a.target.switches = func(_ context.Context, step deploy.Step) error {
		if step.Role.Name == "gateway" && step.Role.Digest == oldBits {
			kill()
			return ctx.Err()
		}
		return nil
	}
	record, err := a.shipWithin(ctx, t, releaseOf(oldSHA, oldBits, "cluster", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Pending, record.Outcome)

	a.target.switches = crash("cluster", newBits)
	record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Equal(t, map[string]string{"cluster": foundBits, "gateway": foundBits}, a.target.runs)
}

func TestWhatRanBeforeIsNotAskedForWhatOnlyAReleaseDoes(t *testing.T) {
	a := running(t, "cluster")
	a.Config.Roles[0].Port = 3111
	probed := &config.Probe{Path: "/", Expect: []string{`text == "another"`}, Within: config.Duration(1), Every: config.Duration(1)}
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome)
	a.Config.Roles[0].Probe = probed
	record, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
}

func TestWhatRanBeforeIsRolledBackToUnsignedOnlyIfThatIsAllowed(t *testing.T) {
	a := running(t, "cluster")
	a.Policy.Verify = func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error) {
		return deploy.Verified{}, nil
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	_, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, release.CodeAdoptedUnsigned, refusal.Findings[0].Code)
	record, err := a.Rollback(t.Context(), "0", deploy.Terms{Allow: []release.Code{release.CodeAdoptedUnsigned}})
	require.NoError(t, err)
	require.Equal(t, []release.Code{release.CodeAdoptedUnsigned}, record.Allowed)
	_, checks, err := a.Verify(t.Context(), -1, 0)
	require.NoError(t, err)
	require.False(t, checks[1].OK, "nobody signed it")
}

// noAdoption takes what was adopted away from the first record.
type noAdoption struct{ ledger.Store }

func (s noAdoption) Read(ctx context.Context, name string) (ledger.StoredEntry, error) {
	e, err := s.Store.Read(ctx, name)
	delete(e.Parts, "adopted")
	return e, err
}

func TestWhatRanBeforeCannotBeTakenAwayUnseen(t *testing.T) {
	a := running(t, "cluster")
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	l := ledger.New(noAdoption{a.store}, "bus", ledger.Options{})
	var altered *ledger.AlteredError
	_, err = l.Read(t.Context(), 1)
	require.ErrorAs(t, err, &altered)
	faults, err := l.Verify(t.Context(), 10)
	require.NoError(t, err)
	require.NotEmpty(t, faults)
}
