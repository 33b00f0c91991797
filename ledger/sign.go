package ledger

import (
	"context"
	"errors"

	"github.com/joelhooks/shipit/release"
)

// sign adds the signature of a record that is about to be sealed.
func (l *Ledger) sign(ctx context.Context, seq int64, parts map[string][]byte) {
	delete(parts, partSignature)
	if l.opts.Sign == nil {
		return
	}
	signature, err := l.opts.Sign(ctx, parts[partRecord])
	if err != nil {
		l.report(release.PhaseRecord, release.MarkFail, "record #%d is kept without a signature: %v", seq, err)
		return
	}
	parts[partSignature] = signature
}

// temporary reports whether an error says of itself that it may pass.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
