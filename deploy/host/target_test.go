package host

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
)

// configFor names the roles, each on a host; "" is this machine.
func configFor(t *testing.T, addresses map[string]string) config.Config {
	t.Helper()
	cfg := config.Config{App: "sample", Path: "shipit.yaml", Dir: t.TempDir()}
	for _, name := range []string{"a", "b", "c"} {
		if address, named := addresses[name]; named {
			cfg.Roles = append(cfg.Roles, config.Role{Name: name, Host: &config.Host{Address: address, Key: "key", KnownHosts: "known_hosts"}})
		}
	}
	return cfg
}

// nobody is the address of a port that nothing listens on, with a key that would be tried.
func nobody(t *testing.T, cfg config.Config) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	require.NoError(t, err)
	require.NoError(t, writeFile(filepath.Join(cfg.Dir, "key"), string(pem.EncodeToMemory(block))))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return "root@" + l.Addr().String()
}

func TestATargetReachesEveryMachineBeforeAnythingIsDone(t *testing.T) {
	cfg := configFor(t, map[string]string{"a": "", "b": "", "c": ""})
	cfg.Roles[1].Host.Address = nobody(t, cfg)
	cfg.Roles[2].Host.Address = nobody(t, cfg)
	_, err := Open(t.Context(), cfg, Options{timeout: 2 * time.Second})
	require.ErrorContains(t, err, "b: host 127.0.0.1")
	require.ErrorContains(t, err, "c: host 127.0.0.1", "all are named at once")

	target, err := Open(t.Context(), cfg, Options{timeout: 2 * time.Second, Partial: true})
	require.NoError(t, err)
	defer target.Close()
	role := roleOf(t, worker())
	role.Name = "b"
	_, err = target.Compare(t.Context(), deploy.Step{Role: role})
	require.ErrorContains(t, err, "is not reachable")
	require.ErrorContains(t, err, "b: ")
	role.Name = "a"
	_, err = target.Compare(t.Context(), deploy.Step{Role: role})
	require.NotContains(t, fmt.Sprint(err), "is not reachable", "one machine that is away does not hide the others")
}

func TestATargetServesOnlyTheRolesOfItsConfiguration(t *testing.T) {
	target, err := Open(t.Context(), configFor(t, map[string]string{"a": ""}), Options{})
	require.NoError(t, err)
	defer target.Close()
	role := release.Role{Name: "old"}
	const says = "old: shipit.yaml no longer names this role"
	_, err = target.Compare(t.Context(), deploy.Step{Role: role})
	require.ErrorContains(t, err, says)
	_, err = target.Switch(t.Context(), deploy.Step{Role: role})
	require.ErrorContains(t, err, says)
	_, err = target.Preflight(t.Context(), release.Release{}, []release.Role{role}, false)
	require.ErrorContains(t, err, says)
	_, err = target.Prepare(t.Context(), role)
	require.ErrorContains(t, err, says)
	require.ErrorContains(t, target.Remove(t.Context(), role, release.Release{}), says)
	require.ErrorContains(t, target.Prune(t.Context(), role, nil), says)
}

func TestATargetUnpacksAnImageAndPrunesWhatNoGoodRecordNames(t *testing.T) {
	_, root := here(t)
	cfg := configFor(t, map[string]string{"a": ""})
	cfg.Roles[0].Host.Root, cfg.Roles[0].Host.Keep = root, 1
	var notes []string
	target, err := Open(t.Context(), cfg, Options{
		ImageFor: func(_ context.Context, ref, platform string) (v1.Image, error) {
			return imageOf(t, layerOf(t, hosttest.File("a", ref))), nil
		},
		Progress: func(e release.Event) { notes = append(notes, e.Message) },
	})
	require.NoError(t, err)
	defer target.Close()
	var records []release.Record
	var last release.Role
	for _, c := range "abc" {
		d := worker()
		d.Digest = "sha256:" + strings.Repeat(string(c), 64)
		last = roleOf(t, inRoot(d, root))
		last.Name = "a"
		_, err := target.Prepare(t.Context(), last)
		require.NoError(t, err)
		records = append(records, release.Record{Outcome: release.Settled, Parity: c == 'a', Roles: []release.RoleRecord{{Name: "a", Target: release.TargetHost, Digest: last.Digest}}})
	}
	require.NoError(t, target.Prune(t.Context(), last, func() ([]release.Record, error) { return records, nil }))
	left, err := os.ReadDir(filepath.Join(root, "releases"))
	require.NoError(t, err)
	require.Len(t, left, 2, "the newest, and the one of the good record")
	require.Contains(t, notes[len(notes)-1], "removed from this machine: sha256:bbbb")
}

// imageOf is an image whose only layer is l, made by shipit.
func imageOf(t *testing.T, l content.Layer) v1.Image {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return l.Open(context.Background()) })
	require.NoError(t, err)
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "shipit"}})
	require.NoError(t, err)
	return img
}
