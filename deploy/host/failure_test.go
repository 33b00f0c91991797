package host

import (
	"encoding/base64"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoSecretOfAnEnvironmentFileIsShown(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	d.EnvFile = filepath.Join(t.TempDir(), "secrets.env")
	require.NoError(t, writeFile(d.EnvFile, "KEY=\"-----BEGIN\nhunter25\n-----END\"\nESCAPED=one\\ two\nLONG=three\\\nfour\n"+
		"DB_PASSWORD=x7q\nPIN=12\nMODE=on\nQUOTED='a \"b\" & c'\nURL=hunter27/x\n"))
	mask, ok := m.mask(t.Context(), d)
	require.True(t, ok)
	for _, c := range []struct{ name, text, want string }{
		{"one line of several", "key hunter25", "key [redacted]"},
		{"several lines", "-----BEGIN\nhunter25\n-----END", "[redacted]"},
		{"what was escaped", "one two", "[redacted]"},
		{"what was continued", "threefour", "[redacted]"},
		{"base64", base64.StdEncoding.EncodeToString([]byte("threefour")), "[redacted]"},
		{"base64 of a longer text", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:hunter27/x")), "Basic dXNlcjp[redacted]"},
		{"escaped for a URL", "http://h/?a=hunter27%2Fx", "http://h/?a=[redacted]"},
		{"escaped in JSON", `{"a":"a \"b\" \u0026 c"}`, `{"a":"[redacted]"}`},
		{"a short one that is named a secret, as a word", "with x7q, pin 12.", "with [redacted], pin [redacted]."},
		{"a part of another word", "x7qa took 120ms", "x7qa took 120ms"},
		{"a short one that is not named a secret", "it is on", "it is on"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, mask(c.text)) })
	}
}
