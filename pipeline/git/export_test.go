package git

import "context"

// IsAncestor is for the tests of this package.
func (s Source) IsAncestor(ctx context.Context, rev string) (bool, error) {
	return s.isAncestor(ctx, rev)
}
