package lockfile

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryLockfileSaysWhichPlatformsAPackageIsFor(t *testing.T) {
	const pnpm = `lockfileVersion: '9.0'
packages:
  native-linux@1.0.0: {resolution: {integrity: sha512-a}, os: [linux], cpu: [arm64], libc: [musl]}
  any@1.0.0: {resolution: {integrity: sha512-b}}
snapshots:
  native-linux@1.0.0: {}
  any@1.0.0: {}
`
	const bun = `{"lockfileVersion":1,"workspaces":{"":{}},"packages":{
"native-linux":["native-linux@1.0.0","",{"os":"linux","cpu":["arm64"]},"sha512-a"],
"any":["any@1.0.0","",{},"sha512-b"],},}`
	const npm = `{"lockfileVersion":3,"packages":{"":{},
"node_modules/native-linux":{"version":"1.0.0","os":["linux"],"cpu":["arm64"],"libc":["musl"]},"node_modules/any":{"version":"1.0.0"}}}`
	for file, text := range map[string]string{PNPM: pnpm, Bun: bun, NPM: npm} {
		lock, err := Parse(file, []byte(text))
		require.NoError(t, err, file)
		all, err := lock.Packages()
		require.NoError(t, err, file)
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
			switch p.Name {
			case "native-linux":
				require.False(t, p.Limits.Any(), file)
				require.True(t, p.Limits.Allow(Platform{OS: "linux", CPU: "arm64", Libc: "musl"}), file)
				require.True(t, p.Limits.Allow(Platform{OS: "linux", CPU: "arm64"}), file)
				require.Equal(t, file == Bun, p.Limits.Allow(Platform{OS: "linux", CPU: "arm64", Libc: "glibc"}), "%s: bun does not keep it", file)
				require.False(t, p.Limits.Allow(PlatformOf("darwin", "arm64")), file)
				require.False(t, p.Limits.Allow(PlatformOf("linux", "amd64")), file)
			case "any":
				require.True(t, p.Limits.Any(), file)
			}
		}
		require.Subset(t, names, []string{"native-linux", "any"}, file)
	}
}

func TestValuesThatAreExcluded(t *testing.T) {
	v := Values{"!win32"}
	require.True(t, v.allow("linux"))
	require.False(t, v.allow("win32"))
	require.True(t, Values{"any"}.allow("aix"))
	require.Equal(t, Platform{OS: "win32", CPU: "ia32"}, PlatformOf("windows", "386"))
}
