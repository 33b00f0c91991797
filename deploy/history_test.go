package deploy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestARecordSaysWhatAnImageWasMadeOf(t *testing.T) {
	good := release.Begin(release.Release{Roles: []release.Role{{Name: "worker", Digest: "sha256:a", Key: "k1"}}}, time.Unix(0, 0))
	altered := release.Begin(release.Release{Roles: []release.Role{{Name: "worker", Digest: "sha256:b", Key: "k2"}}}, time.Unix(0, 0))
	altered.Altered = "its hash is another"
	history := deploy.History{View: ledger.View{Entries: []ledger.Entry{{Record: altered}, {Record: good}}}}
	require.True(t, history.Built("k1", "sha256:a"))
	require.False(t, history.Built("k1", "sha256:b"), "of another key")
	require.False(t, history.Built("k2", "sha256:b"), "a record that was altered says nothing")
	require.False(t, deploy.History{}.Built("k1", "sha256:a"), "nothing was read")
}

// readCounter counts how often the first record is read.
type readCounter struct {
	ledger.Store
	mu    sync.Mutex
	first int
}

func (s *readCounter) Read(ctx context.Context, name string) (ledger.StoredEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "000001" {
		s.first++
	}
	return s.Store.Read(ctx, name)
}

func TestTheLedgerIsReadOnceForWhatItDoesNotHold(t *testing.T) {
	a := newApp(t, "cluster")
	for i, version := range []string{"1.4.0", "1.5.0-rc.1"} {
		rel := releaseOf(fmt.Sprintf("%040x", i+1), fmt.Sprintf("sha256:%d", i), "cluster")
		rel.Version = version
		_, err := a.ship(t, rel, deploy.Terms{})
		require.NoError(t, err)
	}
	store := &readCounter{Store: a.store}
	a.Ledger = ledger.New(store, "bus", ledger.Options{})
	for _, to := range []string{"9.9.9", "abcdef1", "~9.9"} {
		store.first = 0
		_, err := a.Rollback(t.Context(), to, deploy.Terms{})
		var none *release.NoneError
		require.ErrorAs(t, err, &none, to)
		require.Equal(t, 2, store.first, "%s: with the newest, and with all", to)
	}
	record, err := a.Rollback(t.Context(), ">=1.5.0-0", deploy.Terms{})
	require.NoError(t, err)
	require.EqualValues(t, 2, record.Origin, "a pre-release, if no release fits")
}
