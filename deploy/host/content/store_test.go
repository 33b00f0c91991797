package content

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	hex := func(c string) string { return strings.Repeat(c, 64) }
	listing := "Release=" + hex("a") + "\nRelease=" + hex("b") + "\nRelease=notes\nRelease=" + hex("c") + "\nRelease=" + hex("d") + "\nRelease=" + hex("e") + "\nUsed=" + hex("d") + "\n"
	got := unneeded(Keep{Newest: 1, Digests: []string{"sha256:" + hex("c")}}, listing)
	require.Equal(t, []string{"sha256:" + hex("b"), "sha256:" + hex("e")}, got, "a is the newest, c is recorded, d runs")
}

func TestTheFileSystemIsReadFromTheLastLine(t *testing.T) {
	require.Equal(t, FileSystem{Device: "/dev/disk3s5", Mount: "/System/Volumes/My Data", FreeKiB: 512},
		parseFileSystem("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/disk3s5 1024 512 512 50% /System/Volumes/My Data\n"))
	require.Equal(t, FileSystem{}, parseFileSystem("nonsense"))
}
