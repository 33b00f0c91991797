package pipeline

import (
	"context"
)

func chooseBuilder(ctx context.Context, in Inputs, opts Options) (builder, string, error) {
	return embedded(opts), "embedded", nil
}
