package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

func TestSigningFaults(t *testing.T) {
	for _, tc := range []struct{ name, signing, key, msg string }{
		{"a mode that is unknown", "{mode: gpg}", "signing.mode", `"gpg" is none of none, key, keyless`},
		{"a key that is missing", "{mode: key}", "signing.key", "is missing"},
		{"a policy that nobody can fulfil", "{policy: {}}", "signing.policy", "names neither keys nor an identity"},
		{"an identity without an issuer", "{policy: {identity: x}}", "signing.policy.issuer", "is missing"},
		{"an issuer without an identity", "{policy: {keys: [cosign.pub], issuer: x}}", "signing.policy.identity", "is missing"},
		{"an identity that is no expression", "{policy: {identity: (, issuer: x}}", "signing.policy.identity", `"(" is no regular expression`},
		{"a predicate that is unknown", "{policy: {keys: [cosign.pub], predicates: [sbom, vex]}}", "signing.policy.predicates[1]", `"vex" is none of signature, provenance, sbom`},
		{"a private Fulcio without Rekor", "{mode: keyless, fulcio: http://x}", "signing.rekor", "is missing"},
		{"a private Rekor without Fulcio", "{mode: keyless, rekor: http://x}", "signing.fulcio", "is missing"},
		{"private services without a root", "{mode: keyless, fulcio: http://x, rekor: http://y}", "signing.trustedRoot", "is missing"},
		{"an unknown version of Rekor", "{mode: keyless, rekorVersion: 3}", "signing.rekorVersion", "3 is neither 1 nor 2"},
		{"version 2 of Rekor without a timestamp", "{mode: keyless, rekorVersion: 2}", "signing.timestamp", "is missing"},
	} {
		t.Run(tc.name+" is refused", func(t *testing.T) {
			_, err := config.Parse("shipit.yaml", []byte(good+"signing: "+tc.signing+"\n"), "")
			var fault *config.Error
			require.ErrorAs(t, err, &fault)
			require.Equal(t, "shipit.yaml", fault.File)
			require.Equal(t, 22, fault.Line)
			require.Equal(t, tc.key, fault.Key)
			require.Contains(t, fault.Msg, tc.msg)
		})
	}
	for _, signing := range []string{
		"{mode: none}", "{mode: key, key: cosign.key, policy: {keys: [cosign.pub], predicates: [signature, provenance, sbom]}}",
		"{mode: keyless, policy: {identity: x, issuer: y}}",
		"{mode: keyless, fulcio: http://x, rekor: http://y, rekorVersion: 2, timestamp: http://z, trustedRoot: root.json}",
	} {
		t.Run(signing+" is accepted", func(t *testing.T) {
			_, err := config.Parse("shipit.yaml", []byte(good+"signing: "+signing+"\n"), "")
			require.NoError(t, err)
		})
	}
}
