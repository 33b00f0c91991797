package object_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

func TestWhereAnObjectHoldsASecretInPlainText(t *testing.T) {
	of := func(container string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[` + container + `]}}}}`
	}
	variable := func(name, value string) string {
		return of(`{"name":"main","env":[{"name":"` + name + `","value":"` + value + `"}]}`)
	}
	for name, tc := range map[string]struct {
		live string
		want []string
	}{
		"a token":                  {variable("API_TOKEN", "hunter2hunter2"), []string{"the variable API_TOKEN of container main"}},
		"a signing key":            {variable("INNGEST_SIGNING_KEY", "signkey-prod-1"), []string{"the variable INNGEST_SIGNING_KEY of container main"}},
		"a password":               {variable("DB_PASSWORD", "hunter2"), []string{"the variable DB_PASSWORD of container main"}},
		"a password in a URL":      {variable("DATABASE_URL", "postgres://bus:hunter2@db/bus"), []string{"the variable DATABASE_URL of container main"}},
		"a URL that refers to it":  {variable("DATABASE_URL", "postgres://bus:$(PGPASS)@db/bus"), nil},
		"a reference":              {variable("API_TOKEN", "$(OTHER)"), nil},
		"a file with a key":        {variable("TLS_KEY", "/etc/tls/tls.key"), nil},
		"a public key":             {variable("SIGNING_PUBLIC_KEY", "MCowBQYDK2VwAyEA"), nil},
		"a number":                 {variable("MAX_TOKENS", "4096"), nil},
		"an ordinary variable":     {variable("KEYBOARD", "dvorak"), nil},
		"a variable from a Secret": {of(`{"name":"main","env":[{"name":"API_TOKEN","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]}`), nil},
		"a flag":                   {of(`{"name":"main","command":["serve"],"args":["--api-key=hunter2","--level","debug"]}`), []string{"an argument of container main"}},
		"a flag and its value":     {of(`{"name":"main","args":["--token","hunter2"]}`), []string{"an argument of container main"}},
		"a flag that names a file": {of(`{"name":"main","args":["--token","/run/token","--tls-key","-v"]}`), nil},
		"an init container":        {`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"initContainers":[{"name":"init","env":[{"name":"PIN","value":"A1B2"}]}]}}`, []string{"the variable PIN of container init"}},
		"a key of a ConfigMap":     {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"API_TOKEN":"hunter2","LEVEL":"debug"}}`, []string{"the key API_TOKEN"}},
	} {
		t.Run(name, func(t *testing.T) {
			live := &unstructured.Unstructured{}
			require.NoError(t, json.Unmarshal([]byte(tc.live), &live.Object))
			require.Equal(t, tc.want, object.LiteralSecrets(live, nil))
			require.Empty(t, object.LiteralSecrets(live, live), "the release states it too")
		})
	}
}
