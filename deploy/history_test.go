package deploy_test

import (
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
