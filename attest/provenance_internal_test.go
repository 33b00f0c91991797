package attest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSameRepository(t *testing.T) {
	const ours = "https://github.com/joelhooks/joelclaw"
	for _, same := range []string{
		ours, ours + ".git", ours + "/", "git+" + ours, "git+" + ours + "@refs/heads/main", "git@github.com:joelhooks/joelclaw.git",
		"ssh://git@github.com/joelhooks/joelclaw", "https://token@GitHub.com/joelhooks/joelclaw",
	} {
		require.True(t, sameRepository(same, ours), same)
	}
	for _, other := range []string{
		"", "https://github.com/joelhooks/joelclaw2", "https://github.com/mallory/joelclaw", "https://github.com.example/joelhooks/joelclaw",
		"https://example/github.com/joelhooks/joelclaw", "https://github.com@example/joelhooks/joelclaw", "https://github.com/mallory/x@https://github.com/joelhooks/joelclaw",
	} {
		require.False(t, sameRepository(other, ours), other)
	}
}
