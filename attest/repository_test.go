package attest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACertificateIsForOneRepository(t *testing.T) {
	const own = "https://github.com/joelhooks/joelclaw"
	for _, tc := range []struct {
		name, certified, wanted string
		ok                      bool
	}{
		{"the same", own, own, true},
		{"written another way", own, "git+https://github.com/joelhooks/joelclaw.git", true},
		{"another caller of the same workflow", "https://github.com/somebody/else", own, false},
		{"a name that begins alike", own + "-fork", own, false},
		{"a certificate that names none", "", own, true},
		{"a policy that names none", own, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.ok, !otherRun(tc.certified, tc.wanted))
		})
	}
}
