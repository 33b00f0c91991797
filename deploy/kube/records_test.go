package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestTheRecordsWhenTheFirstRoleMoves(t *testing.T) {
	t.Parallel()
	c := connect(t)
	before, after := namespace(t, c), namespace(t, c)
	web := func(ns string) part { return part{"web", ns, []string{deployment("web", 1)}} }
	a := newApp(t, "moving", web(before))
	a.settled("v1", web(before))
	a.settled("v2", web(before))

	t.Run("the release is refused, and says where the records are", func(t *testing.T) {
		f := a.refusal("v3", web(after))
		require.Equal(t, release.CodeRecordsElsewhere, f.Code)
		require.Contains(t, f.Message, "namespace "+before+" has records of this app, up to #2")
		require.Contains(t, f.Hint, "ledger: "+before)
		require.False(t, a.exists(after, "web"))
	})
	t.Run("records of another environment are told, and refuse nothing", func(t *testing.T) {
		other := web(namespace(t, c))
		b := newApp(t, "moving", other)
		b.environment = "staging"
		b.configure("moving", other)
		record := b.settled("v1", other)
		require.Equal(t, "staging", record.Environment)
		require.Contains(t, b.noted(), "has records of this app")
		require.Contains(t, b.noted(), "they are of another environment, which goes on running")

		moved := web(namespace(t, c))
		b.configure("moving", moved)
		f := b.refusal("v2", moved)
		require.Equal(t, release.CodeRecordsElsewhere, f.Code, "roles of that environment have moved")
		require.Contains(t, f.Message, "namespace "+other.namespace)
	})
	t.Run("with ledger: the history goes on, and the role runs in the new namespace only", func(t *testing.T) {
		a.ledger = before
		record := a.settled("v3", web(after))
		require.EqualValues(t, 3, record.Seq)
		require.False(t, a.exists(before, "web"))
		require.True(t, a.exists(after, "web"))
		a.ledger = ""
	})
	t.Run("a history of its own is begun if that is allowed by name", func(t *testing.T) {
		other := namespace(t, c)
		record, err := a.tryShip(deploy.Terms{Allow: []release.Code{release.CodeRecordsElsewhere, release.CodeForeignObject}}, "v4", web(other))
		require.NoError(t, err)
		require.EqualValues(t, 1, record.Seq)
		require.True(t, record.Parity, record.Reason)
		a.settled("v5", web(other))
	})
}

func TestManifestsThatBringTheirNamespace(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := "brought-" + time.Now().Format("150405")
	deleteNamespace(t, c, name)
	web := part{"web", name, []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: $NS}", deployment("web", 1), service}}
	a := newApp(t, "brought", web)
	plan, err := a.Plan(t.Context(), a.release("v1", web), deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Empty(t, plan.Findings)
	require.Len(t, plan.Changes, 3)
	a.settled("v1", web)
	a.settled("v2", web)

	t.Run("a namespace that nothing brings is refused before the lock", func(t *testing.T) {
		elsewhere := part{"web", "nowhere", []string{deployment("web", 1)}}
		_, err := newApp(t, "nowhere", elsewhere).tryShip(deploy.Terms{}, "v1", elsewhere)
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		for _, f := range refusal.Findings {
			require.Equal(t, release.CodeNamespaceMissing, f.Code)
		}
	})
	t.Run("so is one that only the records are to be in", func(t *testing.T) {
		web := part{"web", namespace(t, c), []string{deployment("web", 1)}}
		a := newApp(t, "nowhere", web)
		a.ledger = "nowhere"
		f := a.refusal("v1", web)
		require.Equal(t, release.CodeNamespaceMissing, f.Code)
		require.Contains(t, f.Message, "there is no namespace nowhere")
	})
}
