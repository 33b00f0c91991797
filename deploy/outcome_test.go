package deploy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// signer signs by hashing. While it is away for records, or for all, it signs nothing.
type signer struct{ awayForRecords, away bool }

func (s *signer) options() ledger.Options {
	return ledger.Options{
		Sign: func(_ context.Context, signed []byte) ([]byte, error) {
			if s.away || s.awayForRecords && bytes.Contains(signed, []byte(`"outcome"`)) {
				return nil, errors.New("the signer is away")
			}
			sum := sha256.Sum256(signed)
			return sum[:], nil
		},
		VerifySignature: func(_ context.Context, signed, signature []byte) error {
			if sum := sha256.Sum256(signed); !bytes.Equal(sum[:], signature) {
				return errors.New("it is of other bytes")
			}
			return nil
		},
	}
}

// signingApp is an app whose records are signed, and whose policy every image satisfies.
func signingApp(t *testing.T) (*app, *signer) {
	t.Helper()
	a, s := newApp(t, "cluster"), &signer{}
	a.Ledger = ledger.New(a.store, "bus", s.options())
	a.Policy.Verify = func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error) {
		return deploy.Verified{}, nil
	}
	return a, s
}

func TestAReleaseWhoseRecordIsNotYetSignedIsRestored(t *testing.T) {
	a, signer := signingApp(t)
	signer.awayForRecords = true
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err, "the record waits for its signature, the release does not")

	a.target.switches = crash("cluster", newBits)
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Equal(t, oldBits, a.target.runs["cluster"])

	signer.awayForRecords, a.target.switches = false, nil
	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	faults, err := a.Ledger.Verify(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, faults, "the next run has brought the signatures")
}

func TestWhatCannotBeSignedIsNotReleased(t *testing.T) {
	a, signer := signingApp(t)
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	signer.away = true
	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, release.CodeSignerAway, refusal.Findings[0].Code)
	require.Equal(t, oldBits, a.target.runs["cluster"])

	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{Allow: []release.Code{release.CodeSignerAway}})
	require.NoError(t, err)
	// A rollback needs no signer.
	record, err := a.Rollback(t.Context(), "1", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome)
	record, err = a.Rollback(t.Context(), "3", deploy.Terms{})
	require.NoError(t, err, "nor does one to a rollback that is not yet signed")
	require.Equal(t, oldBits, a.target.runs["cluster"])
	require.True(t, record.Good())
}

func TestAReleaseThatIsTooLargeIsFoundInThePlan(t *testing.T) {
	a := newApp(t, "cluster")
	rel := releaseOf(oldSHA, oldBits, "cluster")
	rel.Roles[0].Objects = []json.RawMessage{json.RawMessage(`"` + strings.Repeat("x", 64<<20) + `"`)}
	plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Equal(t, release.CodeReleaseTooLarge, plan.Findings[0].Code)
	_, err = a.ship(t, rel, deploy.Terms{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
}

func TestAWeakerPolicyIsRefusedUnlessItIsAllowedByName(t *testing.T) {
	a, _ := signingApp(t)
	requires := &release.Policy{Keys: []string{"sha256:a"}, Predicates: []string{"signature"}}
	a.Policy.Requires = func() (*release.Policy, error) { return requires, nil }
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)

	// A commit brings a configuration without the policy.
	a.Policy.Verify, a.Policy.Requires = nil, nil
	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, release.CodePolicyWeaker, refusal.Findings[0].Code)
	require.Equal(t, oldBits, a.target.runs["cluster"])
	// Also if the ledger could not be read beforehand.
	_, err = a.Release(t.Context(), releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	var weaker *release.WeakerPolicyError
	require.ErrorAs(t, err, &weaker)
	require.Equal(t, oldBits, a.target.runs["cluster"])

	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{Allow: []release.Code{release.CodePolicyWeaker}})
	require.NoError(t, err)
	require.Equal(t, []release.Code{release.CodePolicyWeaker}, record.Allowed)
	require.Nil(t, record.Policy)
	first, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, requires, first.Record.Policy)
	record, err = a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{Allow: []release.Code{release.CodePolicyWeaker}})
	require.NoError(t, err)
	require.Empty(t, record.Allowed, "what is allowed and not needed is not kept")
}

func TestWhatNobodyNeedsIsRemovedUnderTheLock(t *testing.T) {
	a := newApp(t, "cluster")
	holder := func(ctx context.Context) string {
		held, err := a.store.ReadLock(ctx)
		require.NoError(t, err)
		return held.Fields["holder"]
	}
	during := ""
	a.target.prunes = func(ctx context.Context) error {
		during = holder(ctx)
		return nil
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.NotEmpty(t, during, "the next run may be about to use what goes")
	require.Empty(t, holder(t.Context()), "it is let go afterwards")

	// Where another run has the lock since, nothing more is removed.
	var cause error
	a.target.prunes = func(ctx context.Context) error {
		held, err := a.store.ReadLock(ctx)
		require.NoError(t, err)
		held.Fields = map[string]string{"holder": "another", "fence": "99", "head": "2", "ttl": "1m"}
		swapped, err := a.store.SwapLock(ctx, held)
		require.NoError(t, err)
		require.NotEmpty(t, swapped)
		<-ctx.Done()
		cause = context.Cause(ctx)
		return cause
	}
	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	var lost *ledger.LostError
	require.ErrorAs(t, cause, &lost)
}

// memoryMirror stands in for the registry: no registry is needed to see what is copied.
type memoryMirror struct {
	mu     sync.Mutex
	copies map[string]map[string][]byte
}

func (m *memoryMirror) Put(_ context.Context, name string, parts map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.copies[name] = parts
	return nil
}

func (m *memoryMirror) PutParts(context.Context, map[string][]byte) error { return nil }

func (m *memoryMirror) Get(_ context.Context, name string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copies[name], nil
}

func (m *memoryMirror) Has(_ context.Context, name string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copies[name] != nil, nil
}

func (m *memoryMirror) Names(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.copies)), nil
}

func (m *memoryMirror) Location() string { return "a mirror in memory" }

func TestAWithdrawalIsCopiedToTheRegistryToo(t *testing.T) {
	a, signer := signingApp(t)
	mirror, opts := &memoryMirror{copies: map[string]map[string][]byte{}}, signer.options()
	opts.Mirror = mirror
	a.Ledger = ledger.New(a.store, "bus", opts)
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	_, err = a.Withdraw(t.Context(), 1, "CVE-2026-1")
	require.NoError(t, err)
	names, err := mirror.Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"000001", "000001-signature", "000001-signature-withdrawn", "000001-withdrawn"}, names)

	// What the store has lost is brought back.
	a.Ledger = ledger.New(ledgertest.NewStore(), "bus", opts)
	require.NoError(t, a.Recover(t.Context()))
	entry, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, entry.Record.Withdrawn)
}

func TestTheFirstReleaseOnAnotherHostIsRefused(t *testing.T) {
	mirror := &memoryMirror{copies: map[string]map[string][]byte{}}
	old := newApp(t, "host")
	old.Ledger = ledger.New(old.store, "bus", ledger.Options{Mirror: mirror})
	_, err := old.ship(t, releaseOf(oldSHA, oldBits, "host"), deploy.Terms{})
	require.NoError(t, err)

	moved := func(environment string) *app {
		a := newApp(t, "host")
		a.Ledger = ledger.New(a.store, "bus", ledger.Options{Mirror: mirror})
		a.AskRegistry, a.Config.Environment = true, environment
		return a
	}
	a := moved("")
	_, err = a.ship(t, releaseOf(newSHA, newBits, "host"), deploy.Terms{})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, release.CodeRecordsElsewhere, refusal.Findings[0].Code)
	require.Contains(t, refusal.Findings[0].Message, "#1 01d0000")
	require.Empty(t, a.target.runs)
	plan, err := a.Plan(t.Context(), releaseOf(newSHA, newBits, "host"), deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Equal(t, release.CodeRecordsElsewhere, plan.Findings[0].Code)

	record, err := a.ship(t, releaseOf(newSHA, newBits, "host"), deploy.Terms{Allow: []release.Code{release.CodeRecordsElsewhere}})
	require.NoError(t, err, "a history of its own is begun if that is allowed by name")
	require.EqualValues(t, 1, record.Seq)

	record, err = moved("staging").ship(t, releaseOf(newSHA, newBits, "host"), deploy.Terms{})
	require.NoError(t, err, "records of another environment are told, and refuse nothing")
	require.True(t, record.Parity)
}

func TestThatARunChangesSomethingIsToldBeforeItDoes(t *testing.T) {
	a := newApp(t, "cluster")
	var told []release.Record
	a.Begun = func(r release.Record) {
		require.Empty(t, a.target.calls)
		told = append(told, r)
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Len(t, told, 1)
	require.Equal(t, release.Pending, told[0].Outcome)
	require.EqualValues(t, 1, told[0].Seq)
	_, err = a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{Known: []release.Finding{{Code: release.CodeTodo, Severity: release.Refuses}}})
	require.Error(t, err)
	require.Len(t, told, 1, "one that changes nothing, or is refused, is not")
}
