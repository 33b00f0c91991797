package ledgertest_test

import (
	"testing"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
)

func TestTheStoreInMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) ledger.Store { return ledgertest.NewStore() })
}

func TestTheStoreInADirectory(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) ledger.Store { return ledger.NewDirectory(t.TempDir(), "system-bus") })
}
