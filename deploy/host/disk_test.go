package host

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
)

// diskOf is the disk of a machine that is connected.
func diskOf(m *machine) Disk {
	return Disk{func(context.Context) (*machine, error) { return m, nil }}
}

func TestTheLedgerOnADiskKeepsTheContract(t *testing.T) {
	m, _ := here(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Store {
		return ledger.NewDirectoryOn(diskOf(m), t.TempDir(), "app")
	})
}

func TestTheLedgerOnADiskIsThatOfTheMachineItself(t *testing.T) {
	m, _ := here(t)
	folder := t.TempDir()
	there, own := ledger.NewDirectoryOn(diskOf(m), folder, "app"), ledger.NewDirectory(folder, "app")
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
	m, _ := here(t)
	dir := t.TempDir()
	cmd := script(replaceScript, dir, "a.json", "", strings.Repeat("0", 64)).with(strings.NewReader("half"))
	_, err := m.change(t.Context(), write{name: "ledger"}, cmd)
	require.Error(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, ".writer")}, files)
}
