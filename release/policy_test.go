package release_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestAWeakerPolicyIsNamed(t *testing.T) {
	before := release.Policy{
		Keys: []string{"sha256:a", "sha256:b"}, Identity: "https://github.com/joelhooks/.*", Issuer: "https://token.actions.githubusercontent.com",
		Predicates: []string{"signature", "provenance"}, Repository: "https://github.com/joelhooks/joelclaw", Branch: "main",
	}
	for what, tc := range map[string]struct {
		change func(*release.Policy)
		weaker string // "": it is not
	}{
		"the same":           {func(*release.Policy) {}, ""},
		"a key taken away":   {func(p *release.Policy) { p.Keys = p.Keys[:1] }, ""},
		"more required":      {func(p *release.Policy) { p.Predicates = append(p.Predicates, "sbom") }, ""},
		"no identity":        {func(p *release.Policy) { p.Identity, p.Issuer = "", "" }, ""},
		"another key":        {func(p *release.Policy) { p.Keys = []string{"sha256:a", "sha256:c"} }, "it believes another key, sha256:c"},
		"another identity":   {func(p *release.Policy) { p.Identity = ".*" }, "it believes another identity"},
		"another issuer":     {func(p *release.Policy) { p.Issuer = "https://accounts.example.com" }, "it believes another identity"},
		"no provenance":      {func(p *release.Policy) { p.Predicates = []string{"signature"} }, "it requires no provenance"},
		"another repository": {func(p *release.Policy) { p.Repository = "https://github.com/mallory/joelclaw" }, "it asks for the repository"},
		"no branch":          {func(p *release.Policy) { p.Branch = "" }, "it asks for the branch"},
	} {
		t.Run(what, func(t *testing.T) {
			now := before
			tc.change(&now)
			weaker := now.Weaker(&before)
			if tc.weaker == "" {
				require.Empty(t, weaker)
				return
			}
			require.Len(t, weaker, 1)
			require.Contains(t, weaker[0], tc.weaker)
		})
	}
	var none *release.Policy
	require.Equal(t, []string{"it requires no signature"}, none.Weaker(&before))
	require.Empty(t, before.Weaker(nil))
	require.Empty(t, none.Weaker(nil))
}
