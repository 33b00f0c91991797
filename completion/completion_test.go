package completion_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/completion"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func records() []release.Record {
	at := func(d time.Duration) time.Time { return now.Add(-d) }
	return []release.Record{
		{Seq: 4, Kind: release.KindRollback, SHA: "4f2a91c0000000000000000000000000000000aa", Version: "1.0.0", Outcome: release.Settled, Parity: true, StartedAt: at(30 * time.Second)},
		{Seq: 3, Kind: release.KindRelease, SHA: "6a7410700000000000000000000000000000aaaa", Version: "1.1.1", Outcome: release.Restored, Restored: 2, StartedAt: at(5 * time.Minute)},
		{Seq: 2, Kind: release.KindRelease, SHA: "2ecd5c300000000000000000000000000000aaaa", Version: "1.1.0", Outcome: release.Settled, Parity: true, StartedAt: at(3 * time.Hour)},
		{Seq: 1, Kind: release.KindRelease, SHA: "4f2a91c0000000000000000000000000000000aa", Version: "1.0.0", Outcome: release.Settled, Parity: true, StartedAt: at(72 * time.Hour)},
	}
}

func TestSequencesComeNewestFirstWithTheirMeaning(t *testing.T) {
	require.Equal(t, []string{
		"4\t4f2a91c 1.0.0 rollback settled, in parity, now",
		"3\t6a74107 1.1.1 restored (#2 runs again), 5m ago",
		"2\t2ecd5c3 1.1.0 settled, in parity, 3h ago",
		"1\t4f2a91c 1.0.0 settled, in parity, 3d ago",
	}, completion.Sequences(records(), "", now))
	require.Len(t, completion.Sequences(records(), "3", now), 1)
}

func TestOnlyGoodReleasesAreOfferedToRollBackTo(t *testing.T) {
	all := completion.Good(records(), "", now)
	require.Len(t, all, 3)
	require.Contains(t, all[1], "2\t2ecd5c3 1.1.0")
	require.Equal(t, []string{"4f2a91c\t#4 4f2a91c 1.0.0 rollback settled, in parity, now"}, completion.Good(records(), "4f", now))
	require.Equal(t, []string{"1.1.0\t#2 2ecd5c3 1.1.0 settled, in parity, 3h ago"}, completion.Good(records(), "1.1", now))
}

func TestRolesAndEnvironments(t *testing.T) {
	cfg, err := config.Parse("shipit.yaml", []byte(`app: a
images: {worker: {repository: ghcr.io/a/b, package: p, base: scratch}}
roles:
  worker: {image: worker, kubernetes: {namespace: a}}
  gateway: {image: worker, host: {manager: systemd, service: a}}
environments: {staging: {}, production: {}}
`), "")
	require.NoError(t, err)
	require.Equal(t, []string{"worker\tworker, kubernetes", "gateway\tworker, host"}, completion.Roles(cfg, ""))
	require.Equal(t, []string{"gateway\tworker, host"}, completion.Roles(cfg, "g"))
	require.Equal(t, []string{"production", "staging"}, completion.Environments(cfg, ""))
}
