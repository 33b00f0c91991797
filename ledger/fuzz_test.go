package ledger

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// FuzzRecord reads any bytes back as the parts of a record. What is accepted is
// what its own hash says, and can be rolled out again.
func FuzzRecord(f *testing.F) {
	seed := func(record release.Record, objects map[string][]json.RawMessage, sealed bool) {
		record.ObjectsHash = record.Release(objects).ObjectsHash()
		raw, err := json.Marshal(record)
		require.NoError(f, err)
		packed, err := packObjects(record.Release(objects).Roles)
		require.NoError(f, err)
		f.Add(raw, packed, []byte(nil), sealed)
	}
	good := release.Record{
		App: "system-bus", Seq: 1, Kind: release.KindRelease, SHA: "4f2a91c000000000000000000000000000000000", Outcome: release.Settled, Parity: true,
		Roles: []release.RoleRecord{{Name: "cluster", Target: release.TargetKubernetes, Digest: "sha256:" + string(bytes.Repeat([]byte("1"), 64))}},
	}
	seed(good, map[string][]json.RawMessage{"cluster": {json.RawMessage(`{"kind":"Deployment"}`)}}, true)
	seed(good, nil, false)
	f.Add([]byte(`{"app":"system-bus","seq":1,"roles":null}`), []byte{}, []byte(`{"objects":["sha256:0"]}`), true)
	f.Add([]byte(`{"app":"system-bus","seq":1,"roles":[{},{}]}`), gzipped(f, `{"":[{}],"a":null}`), []byte(nil), true)
	f.Fuzz(func(t *testing.T, record, objects, apart []byte, sealed bool) {
		parts := map[string][]byte{partRecord: record, partObjects: objects}
		if len(apart) > 0 {
			parts[partSplit] = apart
		}
		chunkNames(StoredEntry{Name: recordName(1), Parts: parts})
		e, err := newEntry(1, "system-bus", parts, sealed)
		if err != nil {
			var altered *AlteredError
			require.ErrorAs(t, err, &altered)
			return
		}
		require.EqualValues(t, 1, e.Record.Seq)
		require.False(t, !sealed && needsSeal(e.Record))
		if len(apart) == 0 {
			require.Equal(t, e.Record.ObjectsHash, e.Release().ObjectsHash())
		}
		e.Release()
	})
}

func gzipped(f *testing.F, text string) []byte {
	f.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(text))
	require.NoError(f, err)
	require.NoError(f, w.Close())
	return out.Bytes()
}

// FuzzLock reads any text back as the fields of a lock. Whatever they are, a lock
// that nobody renews is free after ten minutes at most.
func FuzzLock(f *testing.F) {
	f.Add("somebody@host", "boot/1/2", "15s", "2026-01-02T03:04:05.123456789Z", "7", "42")
	f.Add("", "", "", "", "", "")
	f.Add("x", "-1", "-15s", "9999-99-99", "-9223372036854775808", "1e99")
	f.Add("x", "a:b:c", "87600h", "0000-01-01T00:00:00Z", "9223372036854775808", "")
	f.Fuzz(func(t *testing.T, holder, process, ttl, renewed, fence, head string) {
		l := parseLease(map[string]string{"holder": holder, "process": process, "ttl": ttl, "acquired": renewed, "renewed": renewed, "fence": fence, "head": head})
		require.Positive(t, l.ttl)
		require.LessOrEqual(t, l.ttl, longestTTL)
		l.alive(observation{}, time.Now())
		require.True(t, l.free(observation{lease: l, at: time.Now().Add(-longestTTL)}))
		again := parseLease(l.fields())
		require.Equal(t, l.fence, again.fence)
		require.Equal(t, l.holder, again.holder)
	})
}
