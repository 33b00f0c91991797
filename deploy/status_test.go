package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestVerifyReadsContentWhole(t *testing.T) {
	a := shipped(t, "cluster")
	_, err := a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, a.target.whole)
	_, _, err = a.Verify(t.Context(), -1, 0)
	require.NoError(t, err)
	require.True(t, a.target.whole)
}

func TestStatus(t *testing.T) {
	t.Run("before the first release there is nothing to compare with", func(t *testing.T) {
		_, err := newApp(t, "cluster").Status(t.Context())
		var none *deploy.NothingReleasedError
		require.ErrorAs(t, err, &none)
	})

	t.Run("another digest, a stopped role and a changed object are drift", func(t *testing.T) {
		a := shipped(t, "cluster", "host", "gateway")
		a.target.runs["cluster"] = newBits
		a.target.stopped["host"] = true
		a.target.changed["gateway"] = []deploy.Change{{Role: "gateway", Object: "Deployment gateway", Action: release.ActionConfigured, Fields: []release.FieldChange{{Path: "spec.replicas", Live: "0", Wanted: "3"}}}}
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.Record.Parity)
		var kinds []release.DriftKind
		for _, d := range status.Record.Drift {
			kinds = append(kinds, d.Kind)
		}
		require.Equal(t, []release.DriftKind{release.DriftDigest, release.DriftUnready, release.DriftObject}, kinds)
		require.Equal(t, "gateway: object: wanted 3, live 0 (Deployment gateway: spec.replicas)", status.Record.Drift[2].String())
		require.False(t, status.Record.Roles[2].InParity)
	})

	t.Run("a role that cannot be read is unknown, and the others are still compared", func(t *testing.T) {
		a := shipped(t, "cluster", "host")
		a.target.away["host"] = errors.New("no route")
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.Len(t, status.Record.Drift, 1)
		require.Equal(t, release.DriftUnknown, status.Record.Drift[0].Kind)
		require.Equal(t, "host", status.Record.Drift[0].Role)
		require.Equal(t, "no route", status.Record.Drift[0].Detail)
		require.True(t, status.Record.Roles[0].InParity)
	})
}

func TestTheCommitOfForeignBitsIsFoundHoweverOldItIs(t *testing.T) {
	a := newApp(t, "cluster", "gateway")
	for i := range 12 {
		sha := fmt.Sprintf("%040x", i+1)
		_, err := a.ship(t, releaseOf(sha, fmt.Sprintf("sha256:%d", i+1), "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
	}
	a.target.switches = func(_ context.Context, s deploy.Step) error {
		a.target.runs["cluster"] = "sha256:1" // by another hand
		return errors.New("no")
	}
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{NoRestore: true})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%040x", 1), record.Roles[0].LiveSHA)
}

func TestPlan(t *testing.T) {
	a := shipped(t, "cluster")
	history, err := a.Read(t.Context())
	require.NoError(t, err)
	plan, err := a.Plan(t.Context(), releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{History: history}, nil)
	require.NoError(t, err)
	require.Empty(t, plan.Changes, "what was just released needs nothing")
	require.Equal(t, oldSHA, plan.Running)

	plan, err = a.Plan(t.Context(), releaseOf(newSHA, newBits, "cluster"), deploy.Terms{History: history}, nil)
	require.NoError(t, err)
	require.Equal(t, []deploy.Change{{Role: "cluster", Object: "entry", Action: release.ActionSwitched}}, plan.Changes)
	require.Equal(t, []string{"switch cluster " + oldBits}, a.target.calls, "a plan changes nothing")
}

// A registry may answer "denied" for a repository that does not exist yet.
func TestAPlanDoesNotJudgeThePullOfWhatIsStillToBePushed(t *testing.T) {
	of := func(code release.Code, unpushed bool) []release.Finding {
		a := shipped(t, "cluster")
		a.target.findings = []release.Finding{{Code: code, Severity: release.Refuses, Role: "cluster"}}
		rel := releaseOf(newSHA, newBits, "cluster")
		rel.Roles[0].Image = "worker"
		plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, map[string]bool{"worker": unpushed})
		require.NoError(t, err)
		return plan.Findings
	}
	require.Empty(t, of(release.CodeImageNotFound, true))
	require.Equal(t, release.Refuses, of(release.CodeImageNotFound, false)[0].Severity)
	require.Equal(t, release.Refuses, of(release.CodePullDenied, false)[0].Severity)
	denied := of(release.CodePullDenied, true)[0]
	require.Equal(t, release.Warns, denied.Severity)
	require.Contains(t, denied.Hint, "does not exist yet")
}

func TestARoleWithoutAFunctionLeftIsNamed(t *testing.T) {
	a := newApp(t, "cluster")
	a.Config.Roles[0].Port, a.Config.Roles[0].Probe = 3111, &config.Probe{Path: "/"}
	answer := `{"functions":["a"]}`
	a.target.secret, a.target.answer = "none", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	for _, c := range []struct {
		answer string
		retire []bool
	}{{`{"functions":["a"]}`, []bool{false}}, {`{"functions":[]}`, []bool{true}}, {`{"ok":true}`, nil}} {
		answer = c.answer
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		var retire []bool
		if f := status.Record.Functions; f != nil {
			for _, role := range f.Roles {
				retire = append(retire, role.Retire)
			}
		}
		require.Equal(t, c.retire, retire, c.answer)
		require.True(t, status.Record.Parity, "it is named, and no drift")
	}
}
