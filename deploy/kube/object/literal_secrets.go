package object

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// LiteralSecrets says where a live object holds in plain text what looks like a secret,
// each place in a few words: variables and arguments of containers, and the keys of a
// ConfigMap. What the release states with the same value is in its commit already, and is
// left out; stated may be nil.
func LiteralSecrets(live, stated *unstructured.Unstructured) []string {
	var known []literal
	if stated != nil {
		known = literals(stated)
	}
	var out []string
	for _, l := range literals(live) {
		if l.isSecret() && !slices.ContainsFunc(known, func(k literal) bool { return k.name == l.name && k.value == l.value }) {
			out = append(out, l.where)
		}
	}
	return slices.Compact(out)
}

// literal is a value that stands in an object under a name.
type literal struct{ where, name, value string }

var (
	// The last word of a name that says that its value is secret, beside those that
	// release.Redact knows.
	secretSuffix = pattern.Lazy(`(?i)(?:^|[_.-])(?:key|pass|passphrase|pwd|pin|auth)$`)
	publicKey    = pattern.Lazy(`(?i)(?:public|publishable)[_.-]?key$`)
	reference    = pattern.Lazy(`\$\([\w.-]+\)`) // to another variable, which Kubernetes fills in
)

// isSecret reports whether a literal looks like a secret, by its name or as the password
// of a URL does. A path, a number and a value of fewer than four characters are none.
func (l literal) isSecret() bool {
	value := reference().ReplaceAllString(l.value, "")
	_, notANumber := strconv.ParseFloat(value, 64)
	if len(value) < 4 || strings.HasPrefix(value, "/") || notANumber == nil || value == "true" || value == "false" || publicKey().MatchString(l.name) {
		return false
	}
	text := l.name + "=" + value
	return secretSuffix().MatchString(l.name) || release.Redact(text, nil) != release.Visible(text)
}

func literals(u *unstructured.Unstructured) []literal {
	if u.GetKind() == "ConfigMap" {
		data, _, _ := unstructured.NestedStringMap(u.Object, "data")
		var out []literal
		for _, key := range slices.Sorted(maps.Keys(data)) {
			if !strings.Contains(data[key], "\n") { // a file says what it means by itself
				out = append(out, literal{"the key " + key, key, data[key]})
			}
		}
		return out
	}
	var out []literal
	for _, container := range slices.Concat(Containers(u, "initContainers"), Containers(u, "containers")) {
		out = append(out, ofContainer(container)...)
	}
	return out
}

// ofContainer are the literals of a container: its variables, its flags and its arguments.
func ofContainer(container map[string]any) []literal {
	var out []literal
	name := fmt.Sprint(container["name"])
	for _, v := range mapsOf(container["env"]) {
		value, _ := v["value"].(string)
		out = append(out, literal{fmt.Sprintf("the variable %v of container %s", v["name"], name), fmt.Sprint(v["name"]), value})
	}
	var words []string
	for _, list := range []string{"command", "args"} {
		part, _ := container[list].([]any)
		for _, word := range part {
			words = append(words, fmt.Sprint(word))
		}
	}
	for i, word := range words {
		flag, value, assigned := strings.Cut(word, "=")
		switch {
		case assigned:
		case !strings.HasPrefix(word, "-"):
			flag, value = "", word
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "-"):
			value = words[i+1]
		}
		out = append(out, literal{"an argument of container " + name, flag, value})
	}
	return out
}
