package release_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestAConstraintOfVersions(t *testing.T) {
	for _, tc := range []struct{ constraint, version, says string }{
		{">=1.4", "1.4.0", ""},
		{">=1.4", "2.0.0", ""},
		{"~1.4", "1.4.9", ""},
		{"~1.4", "1.5.0", "VersionOutside: the version is 1.5.0, and ~1.4 is required"},
		{">=1.4", "1.3.9", "VersionOutside: the version is 1.3.9, and >=1.4 is required"},
		{">=1.4", "1.5.0-dev.2.g4f2a91c", "VersionOutside: the version is 1.5.0-dev.2.g4f2a91c, a pre-release, and >=1.4 is required"},
		{">=1.4-0", "1.5.0-dev.2.g4f2a91c", ""},
		{">=1.4", "", `VersionOutside: the version "" is no semantic version, and >=1.4 is required`},
	} {
		t.Run(tc.constraint+" and "+tc.version, func(t *testing.T) {
			c, err := release.ParseConstraint(tc.constraint)
			require.NoError(t, err)
			said := ""
			for _, f := range c.Findings(tc.version) {
				require.False(t, f.Allowable(), "who asks for a version does not allow another in the same breath")
				said = f.String()
			}
			require.Equal(t, tc.says, said)
		})
	}
	require.Empty(t, release.Constraint{}.Findings("0.1.0"))
	_, err := release.ParseConstraint("one and a half")
	var unclear *release.UnclearError
	require.ErrorAs(t, err, &unclear)
}

func TestALowerVersionIsADowngrade(t *testing.T) {
	for _, tc := range []struct {
		recorded, version string
		found             bool
	}{
		{"1.4.0", "1.4.1", false},
		{"1.4.1", "1.4.0", true},
		{"1.4.1", "1.4.1", false},
		{"1.4.2", "1.4.2-rc.1", true},
		{"1.4.2-rc.1", "1.4.2", false},
		{"1.4.3-dev.7.gaaaaaaa", "1.4.3-dev.10.gbbbbbbb", false},
		{"1.4.3-dev.10.gaaaaaaa", "1.4.3-dev.9.gbbbbbbb", false}, // between the same tags there is no order
		{"1.4.3-dev.10.gaaaaaaa", "1.4.2-dev.11.gbbbbbbb", true},
		{"1.4.3", "1.4.3-dev.9.gbbbbbbb", true},
		{"", "1.4.0", false},
		{"1.4.0", "", false},
	} {
		t.Run(tc.version+" after "+tc.recorded, func(t *testing.T) {
			found := release.Downgrade(tc.version, good(2, shaB, tc.recorded))
			require.Len(t, found, map[bool]int{true: 1}[tc.found])
			for _, f := range found {
				require.Equal(t, "Downgrade: the version "+tc.version+" is lower than "+tc.recorded+", which #2 bbbbbbb has", f.String())
				require.True(t, f.Allowable())
			}
		})
	}
	shallow := release.Downgrade("0.0.0-dev.0.g4f2a91c", good(2, shaB, "1.4.0"))
	require.Contains(t, shallow[0].Hint, "git fetch --unshallow --tags")
}
