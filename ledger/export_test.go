package ledger

import "context"

// What the tests of this package call, and nobody else.
const RecordType = recordType

// Held is for the tests of this package.
func (k *Lock) Held() error { return k.held() }

// Check is for the tests of this package.
func (k *Lock) Check(ctx context.Context) error { return k.check(ctx) }
