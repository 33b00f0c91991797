package release

import "context"

// Fence is the fencing token of the lock under which a run writes. Where a target
// stores the greatest number that it has seen, a run that was delayed on its way,
// after it had asked for its lock, changes nothing there once a later run has been.
type Fence struct {
	Ledger string // where the lock is stored: numbers of other ledgers do not compare
	Number int64  // grows with every holder
}

type fenceKey struct{}

// WithFence is a context whose writes stand behind f.
func WithFence(ctx context.Context, f Fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

// FenceOf is the fence of ctx; false if there is none.
func FenceOf(ctx context.Context) (Fence, bool) {
	f, ok := ctx.Value(fenceKey{}).(Fence)
	return f, ok
}
