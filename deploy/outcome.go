package deploy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// What follows the outcome is limited: the next run does what could not be done.
const (
	afterLimit = 15 * time.Second
	signLimit  = 30 * time.Second // of the signature of the record, which a signer elsewhere makes
)

// required is what is required of the images, and the finding that it is less than
// was required of those of the last record.
func (e Engine) required(h History) (*release.Policy, []release.Finding, error) {
	var now *release.Policy
	if e.Policy.Requires != nil {
		var err error
		if now, err = e.Policy.Requires(); err != nil {
			return nil, nil, err
		}
	}
	records := h.Records()
	if len(records) == 0 || len(now.Weaker(records[0].Policy)) == 0 {
		return now, nil, nil
	}
	err := &release.WeakerPolicyError{Seq: records[0].Seq, Weaker: now.Weaker(records[0].Policy)}
	return now, []release.Finding{{Code: release.CodePolicyWeaker, Severity: release.Refuses, Message: err.Error(),
		Hint: "restore the policy, or accept the change with --allow PolicyWeaker, which is recorded"}}, nil
}

// signContent signs what is released before it runs: until its record is signed
// too, that tells that it is ours.
func (e Engine) signContent(ctx context.Context, rel release.Release, stored map[string][]byte) (map[string][]byte, []release.Finding) {
	signature, err := e.Ledger.SignContent(ctx, rel, stored)
	if err == nil {
		return signature, nil
	}
	finding := release.Finding{Code: release.CodeSignerAway, Severity: release.Refuses, Message: release.OneLine(err.Error()),
		Hint: "release it again when the signer answers; a rollback needs no signer"}
	if rel.Kind == release.KindRollback || e.Policy.Verify == nil {
		finding.Severity = release.Warns // it repeats a signed record, or nobody asks for signatures
	}
	return nil, []release.Finding{finding}
}

// copying is a copy to the registry that runs while the roles are switched.
type copying struct {
	done <-chan ledger.Copied
	stop context.CancelFunc
}

// startRegistryCopy begins, before the roles are switched, to bring the signatures that
// earlier runs could not bring, and to copy to the registry what is known.
func (e Engine) startRegistryCopy(ctx context.Context, begun ledger.Begun) copying {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan ledger.Copied, 1)
	go func() {
		// What fails here is done again by the next run, or for the copy when the outcome is stored.
		brought, _ := e.Ledger.SignEarlier(ctx, begun)
		copied, _ := e.Ledger.CopyAhead(ctx, begun)
		if len(brought) > 0 {
			_, _ = e.Ledger.Copy(ctx, copied, brought...)
		}
		done <- copied
	}()
	return copying{done, stop}
}

// seal writes the outcome. What follows from it is done at the same time, and
// fails nothing.
func (e Engine) seal(ctx context.Context, begun ledger.Begun, record release.Record, ahead copying) error {
	defer ahead.stop()
	sealed, err := e.Ledger.Seal(ctx, begun, record)
	if err != nil {
		return fmt.Errorf("record %s: %w", record.ID(), err)
	}
	limited, cancel := context.WithTimeout(ctx, afterLimit)
	defer cancel()
	context.AfterFunc(limited, ahead.stop)
	signature := make(chan []ledger.Sealed, 1)
	var after sync.WaitGroup
	after.Go(func() {
		if record.Outcome == release.Settled {
			locked, stop := begun.Lock.Context(limited)
			defer stop()
			e.prune(locked, record) // under the lock: the next run may be about to use what goes
			e.archive(locked, begun.Lock)
		}
		e.unlock(begun.Lock)
	})
	after.Go(func() { signature <- e.sign(ctx, sealed) })
	after.Go(func() {
		copied := <-ahead.done
		e.copy(ctx, copied, sealed)
		e.copy(ctx, copied, <-signature...)
	})
	if record.Outcome == release.Settled {
		after.Go(func() { e.attest(limited, record) })
	}
	after.Wait()
	return nil
}

// archive moves old records to the registry. What cannot be moved now stays.
func (e Engine) archive(ctx context.Context, lock *ledger.Lock) {
	moved, err := e.Ledger.Archive(ctx, lock)
	if moved > 0 {
		e.report(release.PhaseRecord, release.MarkNote, "", "%d old records are in the registry alone now", moved)
	}
	if err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "old records stay where they are: %s", release.OneLine(err.Error()))
	}
}

// sign brings the signature of the record. One that cannot be brought now is
// brought by the next run.
func (e Engine) sign(ctx context.Context, sealed ledger.Sealed) []ledger.Sealed {
	ctx, cancel := context.WithTimeoutCause(ctx, signLimit, fmt.Errorf("no answer within %s", signLimit))
	defer cancel()
	brought, err := e.Ledger.Sign(ctx, sealed)
	if err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "the record is not signed yet, the next run does it: %s", release.OneLine(err.Error()))
	}
	return brought
}

// copy copies to the registry what was sealed.
func (e Engine) copy(ctx context.Context, known ledger.Copied, sealed ...ledger.Sealed) {
	if len(sealed) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, afterLimit)
	defer cancel()
	if _, err := e.Ledger.Copy(ctx, known, sealed...); err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "the registry has no copy of the record yet: %s", release.OneLine(err.Error()))
	}
}

// attest publishes where the release runs. It fails nothing: the record is the
// proof, and this is its copy for those who see only the registry.
func (e Engine) attest(ctx context.Context, record release.Record) {
	if e.Policy.Attest == nil || record.Adopted {
		return
	}
	if err := e.Policy.Attest(ctx, record); err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "attest the deployment: %s", release.OneLine(err.Error()))
	}
}
