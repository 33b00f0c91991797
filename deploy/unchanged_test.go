package deploy_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestWhatRunsAsRecordedIsNotWrittenAgain(t *testing.T) {
	count := func(a *app) int {
		records, err := a.Ledger.List(t.Context(), 0, 0)
		require.NoError(t, err)
		return len(records)
	}
	same := releaseOf(oldSHA, oldBits, "cluster")

	a := shipped(t, "cluster")
	a.target.calls = nil
	changing := 0
	a.Changing = func() { changing++ }
	record, err := a.ship(t, same, deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Unchanged)
	require.EqualValues(t, 1, record.Seq)
	require.Equal(t, 1, record.Roles[0].Ready)
	require.Equal(t, 1, count(a))
	require.Empty(t, a.target.calls)
	require.Zero(t, changing, "nothing is about to change")

	t.Run("but it is if that is asked for", func(t *testing.T) {
		record, err := a.ship(t, same, deploy.Terms{Record: true})
		require.NoError(t, err)
		require.False(t, record.Unchanged)
		require.Equal(t, 2, count(a))
		require.Equal(t, 1, changing)
	})

	for name, change := range map[string]func(a *app, rel *release.Release){
		"another commit":      func(_ *app, rel *release.Release) { rel.SHA = newSHA },
		"another version":     func(_ *app, rel *release.Release) { rel.Version = "2.0.0" },
		"another object":      func(_ *app, rel *release.Release) { rel.Roles[0].Objects = []json.RawMessage{[]byte(`{"a":1}`)} },
		"something else runs": func(a *app, _ *release.Release) { a.target.runs["cluster"] = newBits },
		"a changed object": func(a *app, _ *release.Release) {
			a.target.changed["cluster"] = []deploy.Change{{Object: "x", Action: release.ActionCreated}}
		},
		"a record that was later": func(a *app, _ *release.Release) { a.fail(t) },
	} {
		t.Run("not so with "+name, func(t *testing.T) {
			a, rel := shipped(t, "cluster"), releaseOf(oldSHA, oldBits, "cluster")
			change(a, &rel)
			before := count(a)
			record, err := a.ship(t, rel, deploy.Terms{})
			require.NoError(t, err)
			require.False(t, record.Unchanged)
			require.Equal(t, before+1, count(a))
		})
	}

	t.Run("and not while another run holds the lock", func(t *testing.T) {
		lock, err := ledger.New(a.store, "bus", ledger.Options{}).Lock(t.Context(), ledger.LockOptions{Holder: "another"})
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Unlock(context.WithoutCancel(t.Context()))) }()
		_, err = a.ship(t, same, deploy.Terms{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
	})
}

// fail makes a release that fails and is restored.
func (a *app) fail(t *testing.T) {
	t.Helper()
	a.target.switches = crash("cluster", newBits)
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome)
	a.target.switches = nil
}

func TestWhatIsLearnedOfAHostsFilesIsRecordedAndUsedAgain(t *testing.T) {
	a := newApp(t, "host")
	a.target.files = "linux/amd64:5a1d"
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "host"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, a.target.files, record.Roles[0].Files)

	again, err := a.ship(t, releaseOf(newSHA, oldBits, "host"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, []string{"", "linux/amd64:5a1d"}, a.target.prepared, "another commit with equal bits")
	require.Equal(t, a.target.files, again.Roles[0].Files)

	_, err = a.Rollback(t.Context(), "", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, "linux/amd64:5a1d", a.target.prepared[2], "the record of a rollback's release tells it")
}
