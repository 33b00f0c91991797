package release_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestRedact(t *testing.T) {
	values := []string{"hunter2", "hunter2-and-more", "two\nlines", "abc", `a"<b>`}
	for _, tc := range []struct{ name, text, want string }{
		{"a value", "it is hunter2.", "it is [redacted]."},
		{"a value that begins with another leaves no rest", "hunter2-and-more", "[redacted]"},
		{"a value in base64", "x " + base64.StdEncoding.EncodeToString([]byte("hunter2")) + " y", "x [redacted] y"},
		{"each line of a value", "first lines last", "first [redacted] last"},
		{"a value that is too short to be told from text stays", "abc", "abc"},
		{"what is named a secret", `{"apiKey":"0123","password": "4567"}`, `{"apiKey":"[redacted]","password": "[redacted]"}`},
		{"JSON within JSON", `"{\"password\":\"4567\"}"`, `"{\"password\":\"[redacted]\"}"`},
		{"a value with a quote, in JSON within JSON", `"{\"x\":\"{\\\"y\\\":\\\"a\\\\\\\"<b>\\\"}\"}"`, `"{\"x\":\"{\\\"y\\\":\\\"[redacted]\\\"}\"}"`},
		{"a login of Docker", `{"auths":{"r:5000":{"auth":"dXNlcjpwYXNz"}}}`, `{"auths":{"r:5000":{"auth":"[redacted]"}}}`},
		{"a header", "Authorization: Bearer abcdef", "Authorization: Bearer [redacted]"},
		{"the password of a URL", "redis://user:pass@host/0", "redis://user:[redacted]@host/0"},
		{"other text stays", "listening on port 3111", "listening on port 3111"},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, release.Redact(tc.text, values)) })
	}
}
