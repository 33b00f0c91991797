package main

import (
	"context"
	"errors"
	"fmt"
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
		"an outcome that could not be kept":      {t.Context(), errors.New("the store is away"), exitUnexpected},
		"an outcome that could not be kept, too": {t.Context(), errors.Join(outcomeError(release.Record{Outcome: release.Failed}), errors.New("the store is away")), exitFailed},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, exitCode(c.ctx, c.err)) })
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
