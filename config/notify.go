package config

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// Notify says who is told of a release, rollback or promotion while it runs. Nobody who
// does not listen stops or delays one.
type Notify struct {
	Webhooks []Webhook `yaml:"webhooks" doc:"Addresses that get the events of a release, rollback or promotion, signed, while it runs." each:"One address."`
	GitHub   GitHub    `yaml:"github" doc:"What GitHub is told: a deployment for each environment, and a status of the commit."`
}

// Webhook is one address that gets events.
type Webhook struct {
	URL    string `yaml:"url" doc:"The https address that gets them by POST, or env:NAME where the address itself is a secret." required:"true" rule:"webhook" example:"https://bus.example.com/hooks/shipit"`
	Secret string `yaml:"secret" doc:"The environment variable with the secret that signs them (HMAC-SHA256, as Standard Webhooks describes it)." required:"true" rule:"variable" example:"SHIPIT_WEBHOOK_SECRET"`
}

// GitHub says what GitHub is told.
type GitHub struct {
	Report      string `yaml:"report" doc:"When GitHub is told: in a job of GitHub Actions whose GITHUB_TOKEN is given to shipit, wherever there is a GITHUB_TOKEN, or never." default:"auto" choices:"auto always never" example:"always"`
	Environment string `yaml:"environment" doc:"The environment's name at GitHub." default:"(that of --env, otherwise production)" example:"production"`
}

// webhookAddress is one whose requests cannot be read on their way: over TLS, or on this
// machine.
const webhookAddress = `(https://[^/\s?#@]+|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?)([/?#]\S*)?`

var (
	addressRule  = pattern.Lazy(`^` + webhookAddress + `$`)
	webhookRule  = pattern.Lazy(`^(` + webhookAddress + `|env:[A-Za-z_][A-Za-z0-9_]*)$`)
	variableRule = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func validateNotify(n Notify, fail failFunc) {
	for i, w := range n.Webhooks {
		at := fmt.Sprintf("notify.webhooks[%d]", i)
		if !webhookRule().MatchString(w.URL) {
			fail(at+".url", "is no https address", "https://host/path, env:NAME, or http on this machine")
		}
		if !variableRule().MatchString(w.Secret) {
			fail(at+".secret", fmt.Sprintf("%q is no name of an environment variable", w.Secret), "the secret itself does not belong here")
		}
	}
}

// Address is the address of a webhook, read from the environment if it is there; false if
// there is none that may be used.
func (w Webhook) Address(getenv func(string) string) (string, bool) {
	address := w.URL
	if name, ok := strings.CutPrefix(w.URL, "env:"); ok {
		address = getenv(name)
	}
	return address, addressRule().MatchString(address)
}
