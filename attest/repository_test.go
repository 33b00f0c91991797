package attest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACertificateIsForOneRepository(t *testing.T) {
	const own = "https://github.com/joelhooks/joelclaw"
	const (
		public = "https://github.com/joelhooks/shipit/.github/workflows/ship.yml@refs/tags/v1"
		owned  = own + "/.github/workflows/ship.yml@refs/heads/main"
	)
	for _, tc := range []struct {
		name, certified, subject, wanted string
		ok                               bool
	}{
		{"the same", own, public, own, true},
		{"written another way", own, public, "git+https://github.com/joelhooks/joelclaw.git", true},
		{"another caller of the same workflow", "https://github.com/somebody/else", public, own, false},
		{"a name that begins alike", own + "-fork", public, own, false},
		{"a certificate that names none", "", "joel@example.com", own, true},
		{"a policy that names none, and the public workflow", own, public, "", false},
		{"a policy that names none, and the workflow of the repository itself", own, owned, "", true},
		{"a policy that names none, and the workflow of one that begins alike", own + "-fork", owned, "", false},
		{"the workflow of a fork that begins alike", own, own + "-fork/.github/workflows/ship.yml@main", "", false},
		{"neither names one", "", "joel@example.com", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.ok, ownRun(tc.certified, tc.subject, tc.wanted) == nil)
		})
	}
}
