package shipit_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// TestTheStockCosignSharesWhatIsCompiled holds tools/cosign to the versions of shipit's
// own modules, so that a third of what the two need is compiled once. What reads
// registries and verifies signatures has the versions that cosign's makers chose: the
// tests are to show that the two agree, and not that one library agrees with itself.
func TestTheStockCosignSharesWhatIsCompiled(t *testing.T) {
	required := func(file string) map[string]string {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		mod, err := modfile.Parse(file, data, nil)
		require.NoError(t, err)
		versions := map[string]string{}
		for _, r := range mod.Require {
			versions[r.Mod.Path] = r.Mod.Version
		}
		return versions
	}
	ours, theirs := required("go.mod"), required("tools/cosign/go.mod")
	var differ []string
	for path, version := range theirs {
		own := strings.HasPrefix(path, "github.com/sigstore/") ||
			slices.Contains([]string{"github.com/google/go-containerregistry", "github.com/secure-systems-lab/go-securesystemslib"}, path)
		if want := ours[path]; want != "" && want != version && !own {
			differ = append(differ, path+"@"+want)
		}
	}
	slices.Sort(differ)
	require.Empty(t, differ, "in tools/cosign: GOWORK=off go get %s && go mod tidy", strings.Join(differ, " "))
	require.Equal(t, ours["github.com/sigstore/cosign/v3"], theirs["github.com/sigstore/cosign/v3"])
}
