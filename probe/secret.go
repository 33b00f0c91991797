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

// secretsOf are the values that must not appear in messages about a role's probes:
// of the variables that its requests use, and of those variables of this process
// whose names look like secrets.
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
		// A path or a short value, such as that of SSH_AUTH_SOCK, is not a secret.
		if used[name] || rule.MatchString(name) && len(value) >= 8 && !strings.HasPrefix(value, "/") {
			values = append(values, value)
		}
	}
	return values
}

// requestTexts are the parts of a role's requests that may use a variable.
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
