package release_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

var (
	cluster = release.Role{Name: "cluster", Target: release.TargetKubernetes, Digest: "sha256:index", Aliases: []string{"sha256:amd64", "sha256:config"}}
	gateway = release.Role{Name: "gateway", Target: release.TargetHost, Digest: "sha256:gateway"}
	both    = release.Release{App: "bus", Seq: 7, SHA: shaA, Kind: release.KindRelease, Roles: []release.Role{cluster, gateway}}
)

func live(ready, desired int, digests ...string) release.Live {
	return release.Live{Digests: digests, Ready: ready, Desired: desired, At: time.Unix(1, 0)}
}

func TestCompare(t *testing.T) {
	ok := live(1, 1, "sha256:gateway")
	for _, tc := range []struct {
		name    string
		cluster release.Live
		gateway release.Live
		want    []release.DriftKind
	}{
		{"every role runs what was recorded", live(3, 3, "sha256:index"), ok, nil},
		{"a runtime may name the platform's manifest or its config", live(3, 3, "sha256:amd64", "sha256:config"), ok, nil},
		{"another image serves", live(3, 3, "sha256:other"), ok, []release.DriftKind{release.DriftDigest}},
		{"an old pod still serves beside the new ones", live(3, 3, "sha256:index", "sha256:old"), ok, []release.DriftKind{release.DriftMixed}},
		{"one pod is not ready", live(2, 3, "sha256:index"), ok, []release.DriftKind{release.DriftUnready}},
		{"nothing serves", live(0, 3), ok, []release.DriftKind{release.DriftMissing}},
		{"a role scaled to nothing serves nothing wrong", live(0, 0), ok, nil},
		{"a host that runs nothing has drifted", live(1, 1, "sha256:index"), live(0, 1), []release.DriftKind{release.DriftMissing}},
		{"a foreign process is drift whatever it runs", live(1, 1, "sha256:index"), release.Live{Digests: []string{"sha256:gateway"}, Ready: 1, Desired: 1, Note: "foreign directory", At: time.Unix(1, 0)}, []release.DriftKind{release.DriftForeign}},
		{"an instance that was restarted has not stayed up", live(1, 1, "sha256:index"), release.Live{Digests: []string{"sha256:gateway"}, Ready: 1, Desired: 1, Unsteady: "was restarted 2 times", At: time.Unix(1, 0)}, []release.DriftKind{release.DriftUnready}},
		{"what could not be read is no parity", release.Live{}, ok, []release.DriftKind{release.DriftUnknown}},
		{"two roles drift in two ways", live(1, 1, "sha256:other"), live(0, 1), []release.DriftKind{release.DriftDigest, release.DriftMissing}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []release.DriftKind
			for _, d := range release.Compare(both, map[string]release.Live{"cluster": tc.cluster, "gateway": tc.gateway}) {
				got = append(got, d.Kind)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestOfAnUnknownImageAnyFitsAndNoneIsSaidToBeIt(t *testing.T) {
	unknown := release.Role{Name: "cluster", Target: release.TargetKubernetes}
	require.False(t, unknown.Runs("sha256:index"), "which image a role is of, only its digest says")
	rel := release.Release{App: "bus", Adopted: true, Roles: []release.Role{unknown}}
	require.Empty(t, release.Compare(rel, map[string]release.Live{"cluster": live(3, 3, "sha256:a", "sha256:b")}))
	drifts := release.Compare(rel, map[string]release.Live{"cluster": live(2, 3, "sha256:a")})
	require.Len(t, drifts, 1)
	require.Equal(t, release.DriftUnready, drifts[0].Kind)
}

func TestObserve(t *testing.T) {
	record := release.Begin(both, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	require.Equal(t, release.Pending, record.Outcome)

	t.Run("parity is told in the recorded digest, whatever the runtime calls it", func(t *testing.T) {
		got := record.Observe(both, map[string]release.Live{"cluster": live(2, 2, "sha256:config"), "gateway": live(1, 1, "sha256:gateway")}, nil, nil)
		require.True(t, got.Parity)
		require.Equal(t, "sha256:index", got.Roles[0].LiveDigest)
		require.Equal(t, shaA, got.Roles[0].LiveSHA)
	})
	t.Run("what is no drift and worth knowing is the reason of a role in parity", func(t *testing.T) {
		limited := live(1, 1, "sha256:gateway")
		limited.Info = "drop-in x.conf changes MemoryMax"
		got := record.Observe(both, map[string]release.Live{"cluster": live(2, 2, "sha256:config"), "gateway": limited}, nil, nil)
		require.True(t, got.Parity)
		require.Equal(t, limited.Info, got.Roles[1].Reason)
	})
	t.Run("what the target is told to run is shown beside it", func(t *testing.T) {
		told := live(2, 2, "sha256:config")
		told.Wanted = "sha256:amd64"
		other := live(1, 1, "sha256:gateway")
		other.Wanted = "sha256:other"
		got := record.Observe(both, map[string]release.Live{"cluster": told, "gateway": other}, nil, nil)
		require.Equal(t, "sha256:index", got.Roles[0].Wanted)
		require.Equal(t, "sha256:other", got.Roles[1].Wanted)
	})
	t.Run("a foreign digest is named by the commit that it was recorded for", func(t *testing.T) {
		shaOf := func(role, digest string) string {
			if role == "cluster" && digest == "sha256:old" {
				return shaB
			}
			return ""
		}
		got := record.Observe(both, map[string]release.Live{"cluster": live(2, 2, "sha256:old"), "gateway": live(1, 1, "sha256:gateway")}, nil, shaOf)
		require.False(t, got.Parity)
		require.Equal(t, shaB, got.Roles[0].LiveSHA)
		require.False(t, got.Roles[0].InParity)
		require.NotEmpty(t, got.Roles[0].Reason)
		require.True(t, got.Roles[1].InParity)
	})
	t.Run("a release without roles is no parity", func(t *testing.T) {
		require.False(t, release.Record{}.Observe(release.Release{}, nil, nil, nil).Parity)
	})
	t.Run("observing leaves the record that it was called on alone", func(t *testing.T) {
		record.Observe(both, map[string]release.Live{"cluster": live(2, 2, "sha256:index")}, nil, nil)
		require.Empty(t, record.Roles[0].LiveDigest)
	})
}

func TestObjectsHash(t *testing.T) {
	with := func(objects ...string) release.Release {
		role := cluster
		for _, o := range objects {
			role.Objects = append(role.Objects, json.RawMessage(o))
		}
		return release.Release{Roles: []release.Role{role}}
	}
	base := with(`{"a":1}`, `{"b":2}`).ObjectsHash()
	require.Equal(t, base, with(`{"a":1}`, `{"b":2}`).ObjectsHash())
	require.NotEqual(t, base, with(`{"b":2}`, `{"a":1}`).ObjectsHash(), "order counts")
	require.NotEqual(t, base, with(`{"a":1}{"b":2}`).ObjectsHash(), "where one object ends counts")
	require.NotEqual(t, base, with(`{"a":1}`).ObjectsHash())
}

func TestRecordJSON(t *testing.T) {
	record := release.Begin(both, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	record.Outcome, record.SettledAt, record.Previous = release.Settled, record.StartedAt.Add(time.Second), 6
	data, err := json.Marshal(record)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(data, &fields))
	for _, name := range []string{"app", "seq", "kind", "sha", "version", "outcome", "parity", "roles", "startedAt", "settledAt", "previous"} {
		require.Contains(t, fields, name)
	}
	role, ok := fields["roles"].([]any)[0].(map[string]any)
	require.True(t, ok)
	for _, name := range []string{"name", "target", "image", "digest", "liveDigest", "liveSHA", "ready", "desired", "inParity", "reason"} {
		require.Contains(t, role, name)
	}
	require.Equal(t, "2026-01-02T03:04:05Z", fields["startedAt"])

	t.Run("a release comes back from its record", func(t *testing.T) {
		objects := map[string][]json.RawMessage{"cluster": {json.RawMessage(`{}`)}}
		again := record.Release(objects)
		require.Equal(t, both.SHA, again.SHA)
		require.Equal(t, cluster.Aliases, again.Roles[0].Aliases)
		require.Equal(t, objects["cluster"], again.Roles[0].Objects)
	})
}

func TestRefuse(t *testing.T) {
	findings := []release.Finding{
		{Code: release.CodeRoleDropped, Severity: release.Warns},
		{Code: release.CodeQuotaExceeded, Severity: release.Refuses, Role: "cluster", Message: "no room"},
		{Code: release.CodeUntrusted, Severity: release.Refuses, Message: "no signature"},
		{Code: release.CodeQuotaExceeded, Severity: release.Refuses, Fixed: true, Message: "the server says no"},
	}
	require.NoError(t, release.Refuse(findings[:1], nil))
	require.NoError(t, release.Refuse(findings[:2], []release.Code{release.CodeQuotaExceeded}))
	require.ErrorContains(t, release.Refuse(findings[:2], nil), "cluster: QuotaExceeded: no room")
	allow := []release.Code{release.CodeQuotaExceeded, release.CodeUntrusted}
	require.ErrorContains(t, release.Refuse(findings[:3], allow), "no signature", "what the table does not let be allowed is not")
	require.ErrorContains(t, release.Refuse(findings[3:], allow), "the server says no", "nor is a finding that is fixed")
}

func TestShortDigest(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	require.Equal(t, "sha256:0123456789ab", release.ShortDigest(digest))
	require.Equal(t, "ghcr.io/a/b@sha256:0123456789ab", release.ShortDigest("ghcr.io/a/b@"+digest))
	require.Equal(t, "path:/root/Code/system-bus-worker", release.ShortDigest("path:/root/Code/system-bus-worker"))
	require.Equal(t, "", release.ShortDigest(""))
}
