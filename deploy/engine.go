package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Engine carries the releases of one app. It is a value: nothing in it changes
// while it is used, and what a step learns is what the step returns.
type Engine struct {
	Config   config.Config
	Targets  map[release.Target]Target // one for every Target that a role names
	Ledger   *ledger.Ledger
	Policy   Policy             // zero: no signature is required
	Timeout  time.Duration      // of one rollout; must be set
	Lock     ledger.LockOptions // how the lock is taken; the zero value does not wait for it
	Progress release.Progress   // nil is silent
	// Changing is called when it is known that a release is more than what runs already, before
	// its preflight. It must not wait; nil: nobody is told.
	Changing func()
	// Begun is told of the pending record, before the first change. It must not wait; nil:
	// nobody is told.
	Begun func(release.Record)
	// AskRegistry says that before the first release of a ledger the registry is asked
	// whether there are records of the app elsewhere. Where the ledger is in a cluster,
	// the target finds them.
	AskRegistry bool
}

// Policy is what is required of an image before it runs. The zero value requires nothing.
type Policy struct {
	// Requires is what is required, as the records have it; nil: nothing. What requires
	// less than the last record did is refused.
	Requires func() (*release.Policy, error)
	// Verify verifies a role's image by the signing policy. stored are the bundles
	// that were stored with the record of an earlier release; nil: the registry is
	// asked. An *UntrustedError says that the image does not satisfy the policy.
	Verify func(ctx context.Context, role release.Role, stored map[string][]byte) (Verified, error)
	// Attest publishes where a settled release runs; nil: nobody is told.
	Attest func(ctx context.Context, record release.Record) error
}

// Verified is what satisfied the policy.
type Verified struct {
	Bundles map[string][]byte // to be stored with the record, by name
	Signers []string          // "https://cosign… by key 4f2a…", for people
}

// UntrustedError says that an image does not satisfy the signing policy.
type UntrustedError struct {
	Err  error
	Hint string
}

func (e *UntrustedError) Error() string { return e.Err.Error() }
func (e *UntrustedError) Unwrap() error { return e.Err }

// UnchangedError is an error of the part of a command that changes nothing:
// whatever went wrong, everything runs as it ran before.
type UnchangedError struct{ Err error }

func (e *UnchangedError) Error() string { return e.Err.Error() }
func (e *UnchangedError) Unwrap() error { return e.Err }

// Unchanged marks an error as one that changed nothing; nil stays nil.
func Unchanged(err error) error {
	if err == nil {
		return nil
	}
	return &UnchangedError{err}
}

// Close ends the connections of every target.
func (e Engine) Close() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.Targets)) {
		errs = append(errs, e.Targets[name].Close())
	}
	return errors.Join(errs...)
}

// target is where a role runs, whether the configuration names the role still or
// not: a record says what it needs.
func (e Engine) target(role release.Role) (Target, error) {
	t, ok := e.Targets[role.Target]
	if !ok {
		return nil, &NoTargetError{Role: role.Name, Target: role.Target, File: e.Config.Path}
	}
	return t, nil
}

// settings are those of a role of a release; false if the configuration does not name the
// role, or for what ran before the first release: it goes back as it was, and nothing is
// asked of it.
func (e Engine) settings(rel release.Release, role release.Role) (config.Role, bool) {
	if rel.Adopted {
		return config.Role{}, false
	}
	return e.Config.Role(role.Name)
}

// NoTargetError says that no role of the configuration runs where a role of a
// release does, so that no connection to it is known.
type NoTargetError struct {
	Role   string
	Target release.Target
	File   string // the configuration
}

func (e *NoTargetError) Error() string {
	return fmt.Sprintf("role %s runs on %q, and no role of %s does", e.Role, e.Target, e.File)
}

// Hint says how the role can be reached.
func (e *NoTargetError) Hint() string {
	return "name a configuration that has such a role by --config, for example that of the release's own commit"
}

func (e Engine) report(phase release.Phase, mark release.Mark, role, format string, args ...any) {
	e.Progress.Report(release.Event{Phase: phase, Mark: mark, Role: role, Message: fmt.Sprintf(format, args...)})
}

// do sends requests to a role, for probes.
func (e Engine) do(role release.Role) func(context.Context, *http.Request) (*http.Response, error) {
	return func(ctx context.Context, req *http.Request) (*http.Response, error) {
		t, err := e.target(role)
		if err != nil {
			return nil, err
		}
		return t.Do(ctx, role, req)
	}
}

// limited is a context with the time limit of a rollout, whose end is a *release.Failure.
func (e Engine) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.Timeout, &release.Failure{
		Code: release.CodeTimedOut, Message: "not finished within " + e.Timeout.String(), Hint: "raise --timeout if the rollout needs longer",
	})
}

// causeOf gives an error that came of the rollout's own time limit the cause of
// that limit. nil stays nil, and a *release.Failure stays what it is.
func causeOf(ctx context.Context, err error) error {
	var failure *release.Failure
	if err == nil || errors.As(err, &failure) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &failure) {
		return failure
	}
	return err
}

// roleError names the role that an error belongs to.
func roleError(role release.Role, err error) error {
	var f *release.Failure
	if errors.As(err, &f) {
		if f.Role == "" {
			f.Role = role.Name
		}
		return f
	}
	return fmt.Errorf("%s: %w", role.Name, err)
}
