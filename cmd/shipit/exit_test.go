package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestWhatARecordAmountsTo(t *testing.T) {
	for want, record := range map[int]release.Record{
		exitOK:          {Outcome: release.Settled, Parity: true},
		exitDrift:       {Outcome: release.Settled},
		exitRestored:    {Outcome: release.Restored, Restored: 1},
		exitFailed:      {Outcome: release.Failed},
		exitInterrupted: {Outcome: release.Pending},
	} {
		err := outcomeError(record)
		if want == exitOK {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, want, exitCode(t.Context(), err), record.Outcome)
	}
	hinted := outcomeError(release.Record{Outcome: release.Restored, Failures: []*release.Failure{{Hint: "read its log"}}})
	require.Equal(t, "read its log", hintFor(nil, hinted, exitRestored))
}

func TestExitCodesOfErrors(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"a configuration that is wrong":          {t.Context(), deploy.Unchanged(&config.Error{File: "shipit.yaml", Msg: "no"}), exitUsage},
		"a newer release that waits as well":     {t.Context(), deploy.Unchanged(&ledger.SupersededError{By: "4f2a91c", Holder: "ci"}), exitLocked},
		"a lock that is held":                    {t.Context(), deploy.Unchanged(&ledger.HeldError{Holder: "ci"}), exitLocked},
		"a refusal":                              {t.Context(), deploy.Unchanged(&release.Refusal{}), exitRefused},
		"nothing to roll back to":                {t.Context(), deploy.Unchanged(&release.NoneError{}), exitRefused},
		"whatever went wrong before any change":  {t.Context(), deploy.Unchanged(errors.New("no route")), exitRefused},
		"an interrupt before any change":         {over, deploy.Unchanged(fmt.Errorf("read: %w", context.Canceled)), exitInterrupted},
		"an interrupted repair":                  {over, interruptedRepair(), exitInterrupted},
		"an outcome that could not be kept":      {t.Context(), errors.New("the store is away"), exitUnexpected},
		"an outcome that could not be kept, too": {t.Context(), errors.Join(outcomeError(release.Record{Outcome: release.Failed}), errors.New("the store is away")), exitFailed},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, exitCode(c.ctx, c.err)) })
	}
}

// interruptedRepair has put one role back, and not the next.
func interruptedRepair() error {
	return &deploy.RepairError{Repaired: []string{"host"}, Err: fmt.Errorf("cluster: %w", context.Canceled)}
}

func TestAnInterruptedRepairSaysThatItBegan(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	g := &globals{output: "json", term: terminal{out: &out, err: &errs}}
	require.Equal(t, exitInterrupted, g.reportError(over, nil, interruptedRepair()))
	require.NotContains(t, errs.String(), "nothing was rolled out")
	require.Contains(t, errs.String(), "shipit: interrupted: repair: cluster: context canceled\n")
	var doc struct {
		Outcome  release.Outcome
		Repaired []string
		ExitCode int
	}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &doc), out.String())
	require.Equal(t, release.Failed, doc.Outcome)
	require.Equal(t, []string{"host"}, doc.Repaired)
	require.Equal(t, exitInterrupted, doc.ExitCode)
}

func TestARunThatEndsWithoutARecordLeavesALastEvent(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		says string // "": the rollout has said it
	}{
		"one that was refused":                    {t.Context(), deploy.Unchanged(errors.New("no route")), "no route"},
		"one that does not get the lock":          {t.Context(), deploy.Unchanged(&ledger.HeldError{Holder: "ci"}), "ci"},
		"one that a newer one has superseded":     {t.Context(), deploy.Unchanged(&ledger.SupersededError{By: "4f2a91c", Holder: "ci"}), "4f2a91c"},
		"one that was interrupted early":          {over, deploy.Unchanged(fmt.Errorf("read: %w", context.Canceled)), "read: context canceled"},
		"a repair that was interrupted":           {over, interruptedRepair(), "repair: cluster: context canceled"},
		"a repair that failed":                    {t.Context(), &deploy.RepairError{Err: errors.New("no space")}, "repair: no space"},
		"a rollout that was interrupted":          {over, outcomeError(release.Record{Outcome: release.Pending}), ""},
		"a rollout that failed":                   {t.Context(), outcomeError(release.Record{Outcome: release.Failed}), ""},
		"a configuration that is wrong, no event": {t.Context(), deploy.Unchanged(&config.Error{File: "shipit.yaml", Msg: "no"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			g := &globals{output: "text", events: filepath.Join(t.TempDir(), "events"), term: terminal{out: &out, err: &errs}}
			g.reportError(c.ctx, nil, c.err)
			written, err := os.ReadFile(g.events)
			if c.says == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err)
			var last release.Event
			require.NoError(t, json.Unmarshal(written, &last), "one event: %s", written)
			require.Equal(t, release.MarkFail, last.Mark)
			require.Contains(t, last.Message, c.says)
		})
	}
}

func TestARolloutThatFailedSaysWhatToDo(t *testing.T) {
	hint := func(r release.Record) string {
		var hinted interface{ Hint() string }
		require.ErrorAs(t, outcomeError(r), &hinted)
		return hinted.Hint()
	}
	require.Contains(t, hint(release.Record{Outcome: release.Failed, Reason: "connection lost"}), "shipit status")
	require.Equal(t, "add the key", hint(release.Record{Outcome: release.Failed, Failures: []*release.Failure{{Hint: "add the key"}}}))
}
