package machine

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
)

// diskHere is the disk of this machine.
func diskHere(t *testing.T) *Disk {
	t.Helper()
	m := here(t)
	return NewDisk(func(context.Context) (*Machine, error) { return m, nil })
}

func here(t *testing.T) *Machine {
	t.Helper()
	m, err := NewPool(Options{}).Of(t.Context(), config.Host{})
	require.NoError(t, err)
	return m
}

func TestTheLedgerOnADiskKeepsTheContract(t *testing.T) {
	disk := diskHere(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Store {
		return ledger.NewDirectoryOn(disk, t.TempDir(), "app")
	})
}

func TestTheLedgerOnADiskIsThatOfTheMachineItself(t *testing.T) {
	disk, folder := diskHere(t), t.TempDir()
	there, own := ledger.NewDirectoryOn(disk, folder, "app"), ledger.NewDirectory(folder, "app")
	version, err := there.Create(t.Context(), ledger.StoredEntry{Name: "000001", Parts: map[string][]byte{"record": []byte("Grüße\n"), "b": {0, 1, 255}}})
	require.NoError(t, err)
	read, err := own.Read(t.Context(), "000001")
	require.NoError(t, err)
	require.Equal(t, version, read.Version)
	require.Equal(t, []byte("Grüße\n"), read.Parts["record"])
	require.Equal(t, []byte{0, 1, 255}, read.Parts["b"])

	read.Sealed = true
	sealed, err := own.Swap(t.Context(), read)
	require.NoError(t, err)
	again, err := there.Read(t.Context(), "000001")
	require.NoError(t, err)
	require.Equal(t, sealed, again.Version)
	require.True(t, again.Sealed)
}

func TestInputThatIsCutOffIsNotWritten(t *testing.T) {
	m, dir := here(t), t.TempDir()
	cmd := Script(replaceScript, dir, "a.json", "", strings.Repeat("0", 64)).With(strings.NewReader("half"))
	_, err := m.Change(t.Context(), Write{Name: "ledger"}, cmd)
	require.Error(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, ".writer")}, files)
}
