package release

import "context"

// Write names a change of something outside the process that is about to be
// made: "kubernetes PATCH deployments", "registry PUT manifests", "host systemctl
// restart", "disk 000001.json".
type Write string

// Guard is asked before every write, and may refuse it: a run whose lock another
// run has taken over changes nothing any more.
type Guard struct {
	Before func(context.Context, Write) error // nil allows all
	After  func(Write)                        // the write was answered; nil is not told
}

type guardKey struct{}

// WithGuard is a context whose writes g is asked for, besides the guards of ctx.
func WithGuard(ctx context.Context, g Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, append(guards(ctx), g))
}

func guards(ctx context.Context) []Guard {
	all, _ := ctx.Value(guardKey{}).([]Guard)
	return all[:len(all):len(all)]
}

// BeforeWrite asks the guards of ctx for a write that is about to be made. The
// error says why it must not be; done is to be called when it was answered. What
// writes to a registry, a cluster, a host or a disk calls it, and nothing else
// does.
func BeforeWrite(ctx context.Context, w Write) (done func(), err error) {
	all := guards(ctx)
	for _, g := range all {
		if g.Before == nil {
			continue
		}
		if err := g.Before(ctx, w); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, g := range all {
			if g.After != nil {
				g.After(w)
			}
		}
	}, nil
}
