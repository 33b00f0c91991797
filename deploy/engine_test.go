package deploy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// crash fails the switch of a role to a digest.
func crash(role, digest string) func(context.Context, deploy.Step) error {
	return func(_ context.Context, step deploy.Step) error {
		if step.Role.Name == role && step.Role.Digest == digest {
			return &release.Failure{Code: "CrashLoop", Message: "it ended with exit code 1", Hint: "read its log"}
		}
		return nil
	}
}

func TestReleaseAndRollback(t *testing.T) {
	t.Run("the first release settles in parity", func(t *testing.T) {
		a := newApp(t, "cluster", "gateway")
		record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.True(t, record.Parity)
		require.EqualValues(t, 1, record.Seq)
		require.Equal(t, []string{"switch cluster " + oldBits, "switch gateway " + oldBits}, a.target.calls)
		require.Equal(t, oldSHA, record.Roles[1].LiveSHA)
		sealed, err := a.Ledger.Read(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, sealed.Sealed)
	})

	t.Run("the second follows the first", func(t *testing.T) {
		a := shipped(t, "cluster")
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 2, record.Seq)
		require.EqualValues(t, 1, record.Previous)
		require.Equal(t, newBits, a.target.runs["cluster"])
	})

	t.Run("a rollback is the roll of the release before, without a build", func(t *testing.T) {
		a := shipped(t, "cluster")
		_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.KindRollback, record.Kind)
		require.EqualValues(t, 1, record.Origin)
		require.Equal(t, oldSHA, record.SHA)
		require.Equal(t, oldBits, a.target.runs["cluster"])
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.Record.Parity)
		require.EqualValues(t, 3, status.Record.Seq)
	})

	t.Run("with nothing earlier a rollback changes nothing", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.calls = nil
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		var none *release.NoneError
		require.ErrorAs(t, err, &none)
		require.Zero(t, record)
		require.Empty(t, a.target.calls)
	})

	t.Run("a rollback goes to a role that the configuration lacks", func(t *testing.T) {
		a := newApp(t, "cluster", "worker")
		_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		a.Config.Roles = a.Config.Roles[:1]
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.Equal(t, oldBits, a.target.runs["worker"])
	})

	t.Run("a role of no known target is an error, and nothing is changed", func(t *testing.T) {
		a := newApp(t, "cluster")
		rel := releaseOf(oldSHA, oldBits, "cluster")
		rel.Roles[0].Target = "nomad"
		_, err := a.ship(t, rel, deploy.Terms{})
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		require.EqualError(t, err, oldSHA[:7]+`: role cluster runs on "nomad", and no role of shipit.yaml does`)
	})
}

// shipped is an app whose first release settled.
func shipped(t *testing.T, roles ...string) *app {
	t.Helper()
	a := newApp(t, roles...)
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	return a
}

func TestSignaturesAreDemandedBeforeAnythingChanges(t *testing.T) {
	a := newApp(t, "cluster")
	a.Policy.Verify = func(_ context.Context, role release.Role, _ map[string][]byte) (deploy.Verified, error) {
		if role.Digest == newBits {
			return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("nobody signed it"), Hint: "sign it"}
		}
		return deploy.Verified{Bundles: map[string][]byte{"bundle.old": []byte("{}")}}, nil
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	entry, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"bundle.old": []byte("{}")}, entry.Attachments)

	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{Allow: []release.Code{release.CodeUntrusted}})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal, "an untrusted image cannot be allowed")
	require.Equal(t, oldBits, a.target.runs["cluster"])
}

func TestAProbeThatDoesNotHoldFailsTheRelease(t *testing.T) {
	a := newApp(t, "cluster")
	a.Config.Roles[0].Port = 3111
	a.Config.Roles[0].Probe = &config.Probe{Path: "/", Expect: []string{`text == "fine"`}, Within: config.Duration(50 * time.Millisecond), Every: config.Duration(10 * time.Millisecond)}
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome)
	require.Contains(t, record.Reason, "withheld: the secrets of the role cannot be read")

	a.target.secret = "zqx1"
	record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Contains(t, record.Reason, "text == ")
	require.Contains(t, record.Reason, "[hidden]")
	require.NotContains(t, record.Reason, "zqx1")
}

// slowStore notes how long it had to keep an outcome.
type slowStore struct {
	ledger.Store
	left time.Duration
}

func (s *slowStore) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	if deadline, ok := ctx.Deadline(); ok && e.Sealed {
		s.left = time.Until(deadline)
	}
	return s.Store.Swap(ctx, e)
}

func TestAnOutcomeIsTriedToBeWrittenLongerThanWhatFollows(t *testing.T) {
	a := newApp(t, "cluster")
	store := &slowStore{Store: a.store}
	a.Ledger = ledger.New(store, "bus", ledger.Options{})
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Greater(t, store.left, 20*time.Second, "an outage of the API server can last as long as its restart")
}
