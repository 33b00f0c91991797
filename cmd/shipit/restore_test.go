package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// scene is a target in memory. Only what a roll asks of it is there.
type scene struct {
	target
	runs     map[string]string // digest by role
	switches []string          // role and digest, in order
	fails    func(ctx context.Context, role release.Role) error
}

func (p *scene) Prepare(context.Context, release.Role) error { return nil }

func (p *scene) Switch(ctx context.Context, _ release.Release, role release.Role) (release.Live, error) {
	p.switches = append(p.switches, role.Name+" "+role.Digest)
	if p.fails != nil {
		if err := p.fails(ctx, role); err != nil {
			return release.Live{}, err
		}
	}
	p.runs[role.Name] = role.Digest
	return p.Observe(ctx, role)
}

func (p *scene) Observe(_ context.Context, role release.Role) (release.Live, error) {
	return release.Live{Digests: []string{p.runs[role.Name]}, Ready: 1, Desired: 1, At: time.Now()}, nil
}

func (p *scene) Withdraw(context.Context, release.Role) error                  { return nil }
func (p *scene) Settled(context.Context, release.Role, []release.Record) error { return nil }
func (p *scene) Drift(context.Context, release.Role) ([]release.Drift, error)  { return nil, nil }
func (p *scene) Close() error                                                  { return nil }

// newTestSite has roles in memory and a ledger in a folder.
func newTestSite(t *testing.T, p *scene, roles ...string) (s *site, folder string) {
	folder = t.TempDir()
	cfg := config.Config{App: "bus"}
	for _, name := range roles {
		cfg.Roles = append(cfg.Roles, config.Role{Name: name})
	}
	s, err := newSite(&globals{term: terminal{out: io.Discard, err: io.Discard}}, cfg)
	require.NoError(t, err)
	for _, name := range roles {
		s.places[name] = p
	}
	s.ledger = ledger.New(ledger.NewDirectory(folder, "bus"), "bus", ledger.Options{})
	s.notarize(t.Context(), nil)
	return s, folder
}

func releaseOf(digest string, roles ...string) release.Release {
	rel := release.Release{App: "bus", Kind: release.KindRelease, SHA: "4f2a91c04f2a91c04f2a91c04f2a91c04f2a91c0"}
	for _, name := range roles {
		rel.Roles = append(rel.Roles, release.Role{Name: name, Target: release.TargetKubernetes, Digest: digest})
	}
	return rel
}

const (
	oldBits = "sha256:01d"
	newBits = "sha256:1e3"
)

func TestRestore(t *testing.T) {
	t.Run("a role that cannot be put back keeps no other from it", func(t *testing.T) {
		p := &scene{runs: map[string]string{}}
		s, _ := newTestSite(t, p, "cluster", "host", "gateway")
		_, err := roll(t.Context(), s, releaseOf(oldBits, "cluster", "host", "gateway"))
		require.NoError(t, err)

		p.switches = nil
		p.fails = func(_ context.Context, role release.Role) error {
			if role.Name == "gateway" && role.Digest == newBits || role.Name == "cluster" && role.Digest == oldBits {
				return errors.New("no")
			}
			return nil
		}
		record, err := roll(t.Context(), s, releaseOf(newBits, "cluster", "host", "gateway"))
		require.Equal(t, exitFailed, exitCode(t.Context(), err))
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "gateway: no; restore cluster: no")
		require.Equal(t, oldBits, p.runs["host"])
		require.Equal(t, oldBits, p.runs["gateway"])
		require.Equal(t, []string{"cluster " + oldBits, "host " + oldBits, "gateway " + oldBits}, p.switches[3:])
	})

	t.Run("a role that the new release lacks does not make a restore a failure", func(t *testing.T) {
		p := &scene{runs: map[string]string{}}
		s, _ := newTestSite(t, p, "cluster", "host")
		_, err := roll(t.Context(), s, releaseOf(oldBits, "cluster", "host"))
		require.NoError(t, err)

		delete(s.places, "host")
		p.fails = func(_ context.Context, role release.Role) error {
			if role.Digest == newBits {
				return errors.New("no")
			}
			return nil
		}
		rel := releaseOf(newBits, "cluster")
		_, err = s.recent(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, release.CodeRoleDropped, s.dropped(rel)[0].Code)
		require.Equal(t, "host", s.dropped(rel)[0].Role)
		record, err := roll(t.Context(), s, rel)
		require.Equal(t, exitRestored, exitCode(t.Context(), err))
		require.Equal(t, release.Restored, record.Outcome, record.Reason)

		records, err := s.ledger.List(t.Context())
		require.NoError(t, err)
		now, err := s.compare(t.Context(), records)
		require.NoError(t, err)
		require.Len(t, now.Drift, 1, "status goes on too")
		require.Equal(t, release.DriftUnknown, now.Drift[0].Kind)
		require.Equal(t, "host", now.Drift[0].Role)
	})

	t.Run("without the lock nothing more is put back", func(t *testing.T) {
		p := &scene{runs: map[string]string{}}
		s, folder := newTestSite(t, p, "cluster", "host")
		rel := releaseOf(oldBits, "cluster", "host")
		_, err := roll(t.Context(), s, rel)
		require.NoError(t, err)

		s.held, err = s.ledger.Lock(t.Context(), ledger.LockOptions{TTL: 1500 * time.Millisecond})
		require.NoError(t, err)
		rel.Seq = 2
		begun, err := s.ledger.Begin(t.Context(), s.held, releaseOf(newBits, "cluster", "host"), nil)
		require.NoError(t, err)
		p.switches = nil
		p.fails = func(ctx context.Context, _ release.Role) error {
			require.NoError(t, os.Remove(filepath.Join(folder, "bus", "lock.json")))
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Second):
				return nil
			}
		}
		record := s.restore(t.Context(), rel, begun, rollout{reached: []string{"cluster", "host"}})
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "the lock was")
		require.Len(t, p.switches, 1)
	})
}

// settling is a store that notes how long it had to keep an outcome.
type settling struct {
	ledger.Store
	left time.Duration
}

func (s *settling) Swap(ctx context.Context, name, version string, parts map[string][]byte, sealed bool) (bool, error) {
	if by, ok := ctx.Deadline(); ok && sealed {
		s.left = time.Until(by)
	}
	return s.Store.Swap(ctx, name, version, parts, sealed)
}

func TestAnOutcomeIsTriedToBeKeptLongerThanWhatFollows(t *testing.T) {
	p := &scene{runs: map[string]string{}}
	s, folder := newTestSite(t, p, "cluster")
	store := &settling{Store: ledger.NewDirectory(folder, "bus")}
	s.ledger = ledger.New(store, "bus", ledger.Options{})
	_, err := roll(t.Context(), s, releaseOf(oldBits, "cluster"))
	require.NoError(t, err)
	require.Greater(t, store.left, 20*time.Second, "an outage of the API server can last as long as its restart")
}
