package release_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestVisible(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"plain text stays":                    {"listening, größer → 3111\n\tnext", "listening, größer → 3111\n\tnext"},
		"a clear screen":                      {"\x1b[2J\x1b[Hgone", `\x1b[2J\x1b[Hgone`},
		"a title":                             {"\x1b]0;owned\x07", `\x1b]0;owned\x07`},
		"NUL, backspace and delete":           {"a\x00b\bc\x7f", `a\x00b\x08c\x7f`},
		"a return that would overwrite":       {"done\rfail", `done\x0dfail`},
		"the line ends of another system":     {"a\r\nb\r\n", "a\nb\n"},
		"control characters of eight bits":    {"a\u009b2Jb", `a\u009b2Jb`},
		"the same as a byte that is no UTF-8": {"a\x9b2Jb", `a\x9b2Jb`},
		"what turns the direction of text":    {"a\u202eb", `a\u202eb`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, release.Visible(tc.text))
			require.Equal(t, tc.want, release.Redact(tc.text, nil), "all foreign text is redacted")
		})
	}
	require.Equal(t, `a\x1b[2J; b`, release.OneLine("a\x1b[2J\nb"))
	require.Equal(t, "[redacted]", release.Redact("two\x1blines", []string{"two\x1blines"}), "a secret is hidden before it is made visible")
}
