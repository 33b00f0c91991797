package main

import (
	"errors"
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
	known := isRecorded(func() (deploy.History, error) {
		return deploy.History{View: ledger.View{Entries: []ledger.Entry{{Record: altered}, {Record: good}}}}, nil
	})
	require.True(t, known(t.Context(), "k1", "sha256:a"))
	require.False(t, known(t.Context(), "k1", "sha256:b"), "of another key")
	require.False(t, known(t.Context(), "k2", "sha256:b"), "a record that was altered says nothing")
	silent := isRecorded(func() (deploy.History, error) { return deploy.History{}, errors.New("no cluster") })
	require.False(t, silent(t.Context(), "k1", "sha256:a"))
}
