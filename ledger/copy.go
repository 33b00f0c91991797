package ledger

import "context"

// Mirror keeps a second copy of what is sealed, apart from the store. It cannot
// arbitrate, so it never decides; it tells whether the first copy was altered.
type Mirror interface {
	// Put keeps an entry. A different entry of that name is left alone: error.
	Put(ctx context.Context, name string, parts map[string][]byte) error
	// Get returns an entry, or nil if there is none.
	Get(ctx context.Context, name string) (parts map[string][]byte, err error)
	// Names lists the entries of every kind, in any order.
	Names(ctx context.Context) ([]string, error)
	// Place names where it keeps things, for messages.
	Place() string
}
