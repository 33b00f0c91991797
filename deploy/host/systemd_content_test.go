package host

// What stands in release directories and is removed from them, on a real systemd.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
)

// others makes a folder of somebody else, with a file that must outlive all.
func others(t *testing.T, l *booted, dir string) {
	t.Helper()
	l.sh(t, `mkdir -p "$1/sub"; echo precious >"$1/sub/file"; chmod 0444 "$1/sub/file"; chmod 0555 "$1/sub"; chmod 0555 "$1"`, dir)
}

func unharmed(t *testing.T, l *booted, dir string) {
	t.Helper()
	require.Equal(t, "precious", l.sh(t, `cat "$1/sub/file"`, dir))
	require.Equal(t, "555 555 444", l.sh(t, `echo $(stat -c %a "$1" "$1/sub" "$1/sub/file")`, dir))
}

func mountedInside(t *testing.T, l *booted) {
	v1, v2 := served("mounted", 4050, "v1"), served("mounted", 4050, "v2")
	for _, d := range []service.Definition{v1, v2} {
		_, err := l.ship(t, d, "")
		require.NoError(t, err)
	}
	const data = "/srv/others data"
	others(t, l, data)
	at := v1.ReleaseDir() + "/app/the data"
	l.sh(t, `mkdir "$2"; mount --bind "$1" "$2"`, data, at)

	var mounted *content.MountedError
	_, err := l.m.store(v1).Prune(t.Context(), content.Keep{})
	require.ErrorAs(t, err, &mounted)
	require.Equal(t, []string{at}, mounted.Mounts)
	require.ErrorContains(t, err, at)
	unharmed(t, l, data)

	findings, err := l.m.preflight(t.Context(), roleOf(t, v1), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodeMountInside, findings[0].Code)
	require.True(t, findings[0].Fixed)
	require.ErrorAs(t, l.m.prepared(t.Context(), roleOf(t, v1), contentOf(layerOf(t, hosttest.File("app/version", "v1")))), &mounted)
	unharmed(t, l, data)
	l.sh(t, `umount "$1"; rmdir "$1"`, at)

	// The running release: what is mounted there is seen, and a run that would repair it refuses.
	at = v2.ReleaseDir() + "/app/data"
	l.sh(t, `mkdir "$2"; mount --bind "$1" "$2"`, data, at)
	require.Contains(t, l.observe(t, v2).Note, "mounted at "+at)
	pid := l.pid(t, v2)
	require.ErrorAs(t, l.m.prepared(t.Context(), roleOf(t, v2), contentOf(layerOf(t, hosttest.File("app/version", "v2")))), &mounted)
	unharmed(t, l, data)
	require.Equal(t, pid, l.pid(t, v2))
	l.sh(t, `umount "$1"; rmdir "$1"`, at)

	// What a killed run left in the staging directory.
	at = v1.Root + "/staging/" + strings.Repeat("f", 64) + ".killed.x/data"
	l.sh(t, `mkdir -p "$2"; mount --bind "$1" "$2"`, data, at)
	findings, err = l.m.preflight(t.Context(), roleOf(t, v1), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodeMountInside, findings[0].Code)
	require.ErrorAs(t, l.m.prepared(t.Context(), roleOf(t, v1), contentOf()), &mounted)
	unharmed(t, l, data)
	l.sh(t, `umount "$1"`, at)
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, v2), imageOfService(t, v2, "")))
	require.Empty(t, l.sh(t, `ls "$1/staging"`, v1.Root))
}

func linkedInside(t *testing.T, l *booted) {
	v1 := served("linked", 4051, "v1")
	_, err := l.ship(t, v1, "")
	require.NoError(t, err)
	const data = "/srv/linked data"
	others(t, l, data)
	l.sh(t, `ln -s "$1" "$2/staging/left.killed.x"
mkdir "$2/staging/more.killed.x"; ln -s "$1" "$2/staging/more.killed.x/link"; ln "$1/sub/file" "$2/staging/more.killed.x/hard"
mkdir "$2/staging/device.killed.x"; mknod "$2/staging/device.killed.x/null" c 1 3
ln -s "$1" "$2/releases/$3"`, data, v1.Root, strings.Repeat("e", 64))
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, v1), imageOfService(t, v1, "")))
	unharmed(t, l, data)
	require.Empty(t, l.sh(t, `ls "$1/staging"`, v1.Root))
	removed, err := l.m.store(v1).Prune(t.Context(), content.Keep{})
	require.NoError(t, err)
	require.Equal(t, []string{"sha256:" + strings.Repeat("e", 64)}, removed)
	unharmed(t, l, data)
	require.Equal(t, "1:3", l.sh(t, `stat -c %t:%T /dev/null`))
}

// damagedUnderService: the folder that a service runs in is not taken away from
// under it before the switch.
func damagedUnderService(t *testing.T, l *booted) {
	d := served("damaged", 4052, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	pid, inode := l.pid(t, d), l.sh(t, `stat -c %i "$1"`, d.ReleaseDir())
	l.sh(t, `chmod u+w "$1"; echo other >"$1"`, d.Workdir+"/version")
	content := contentOf(layerOf(t, hosttest.File("app/version", "v1"), hosttest.File("app/mode", "")))
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, d), content))
	require.Equal(t, pid, l.pid(t, d))
	require.Equal(t, inode, l.sh(t, `stat -c %i "$1"`, d.ReleaseDir()), "it stands where it stood")
	require.NotContains(t, l.sh(t, `readlink "/proc/$1/cwd"`, pid), "deleted")
	live, err := l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.NotEqual(t, pid, l.pid(t, d), "the service runs what is right now")
	require.Contains(t, l.ask(t, 4052), "v1 pid")
	require.Empty(t, l.observe(t, d).Note)
	require.Empty(t, l.sh(t, `ls "$1/staging"`, d.Root))
}

func contentEdited(t *testing.T, l *booted) {
	d := served("edited", 4053, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.observe(t, d).Note)
	version := d.Workdir + "/version"
	for _, c := range []struct{ name, hand, back, says string }{
		{"same size, same time", `cp -p "$1" /root/kept; chmod u+w "$1"; printf X1 | dd of="$1" conv=notrunc status=none; touch -r /root/kept "$1"`, `cat /root/kept >"$1"; chmod a-w "$1"`, "version"},
		{"another file in its place", `cp -p "$1" /root/kept; rm "$1"; echo other >"$1"`, `cat /root/kept >"$1"; chmod 0444 "$1"`, "version"},
		{"a file that was added", `touch "${1%/*}/added"`, `rm "${1%/*}/added"`, "foreign: f ./app/added"},
		{"another owner", `chown daemon "$1"`, `chown root "$1"`, "./app/version"},
	} {
		l.sh(t, c.hand, version)
		l.sh(t, `systemctl restart "$1"`, d.File)
		live := l.observe(t, d)
		require.Contains(t, live.Note, "is damaged", c.name)
		require.Contains(t, live.Note, c.says, c.name)
		l.sh(t, c.back, version)
		require.Empty(t, l.observe(t, d).Note, "%s: the content counts, not its history", c.name)
	}
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, d), imageOfService(t, d, "")))
	// Only who reads all of it sees what the kernel does not tell.
	l.sh(t, `chmod u+w "$2/.shipit" "$2/.shipit/manifest"; sed -i "s/^./0/" "$2/.shipit/manifest"`, version, d.ReleaseDir())
	require.NoError(t, l.m.store(d).Verify(t.Context(), content.Image{Digest: d.Digest}, false))
	live, err := l.m.observe(t.Context(), roleOf(t, d), observing{whole: true})
	require.NoError(t, err)
	require.Contains(t, live.Note, "is damaged")
}

func noSpaceNeeded(t *testing.T, l *booted) {
	v1, v2 := served("nospace", 4054, "v1"), served("nospace", 4054, "v2")
	l.sh(t, `mkdir -p "$1"; mount -t tmpfs -o size=90m tmpfs "$1"`, v1.Root)
	for _, d := range []service.Definition{v1, v2} {
		_, err := l.ship(t, d, "")
		require.NoError(t, err)
	}
	l.sh(t, `dd if=/dev/zero of="$1/filler" bs=1M count=80 status=none`, v1.Root)
	findings, err := l.m.preflight(t.Context(), roleOf(t, v1), needs{})
	require.NoError(t, err)
	require.Empty(t, findings, "v1 is unpacked")
	_, err = l.ship(t, v1, "")
	require.NoError(t, err)
	findings, err = l.m.preflight(t.Context(), roleOf(t, served("nospace", 4054, "v3")), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodeDiskSpace, findings[0].Code)
}
