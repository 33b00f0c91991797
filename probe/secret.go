package probe

import (
	"os"
	"regexp"
	"strings"

	"github.com/joelhooks/shipit/config"
)

// secretName matches variables that hold a secret, by their names.
func secretName() *regexp.Regexp {
	return regexp.MustCompile(`(?i)password|passwd|secret|token|key|credential|auth`)
}

// secretsOf are the values that a role's probes may repeat in their answers: of
// the variables that its requests are filled in with, and of those of this
// process that are named like a secret.
func secretsOf(role config.Role) []string {
	used := map[string]bool{}
	for _, text := range requestTexts(role) {
		for _, m := range secretRule().FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
	}
	var values []string
	rule := secretName()
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		// A path or a number under such a name, as SSH_AUTH_SOCK, is none.
		if used[name] || rule.MatchString(name) && len(value) >= 8 && !strings.HasPrefix(value, "/") {
			values = append(values, value)
		}
	}
	return values
}

// requestTexts are the texts of a role's requests that may name a variable.
func requestTexts(role config.Role) []string {
	var requests []config.Request
	for _, p := range role.AllProbes() {
		if p.Event != nil {
			requests = append(requests, p.Event.Send, p.Event.Await)
		}
	}
	if r := role.Register; r != nil && r.Ask != nil {
		requests = append(requests, *r.Ask)
	}
	var texts []string
	for _, r := range requests {
		texts = append(texts, r.URL, r.Body)
		for _, value := range r.Headers {
			texts = append(texts, value)
		}
	}
	return texts
}
