package config

import (
	"strings"

	"github.com/joelhooks/shipit/release"
)

// setting is a key of a role that says where it runs.
type setting struct {
	target release.Target
	set    bool
}

// settings has a line for each target: a new target is one more.
func (r Role) settings() []setting {
	return []setting{
		{release.TargetKubernetes, r.Kubernetes != nil},
		{release.TargetHost, r.Host != nil},
	}
}

// Target is what runs the role. Of a role that Parse has accepted it is never
// empty, and exactly one of its settings is there.
func (r Role) Target() release.Target {
	for _, s := range r.settings() {
		if s.set {
			return s.target
		}
	}
	return ""
}

// validateTarget requires the settings of exactly one target.
func validateTarget(key string, r Role, fail failFunc) {
	var names []string
	found := 0
	for _, s := range r.settings() {
		names = append(names, string(s.target))
		if s.set {
			found++
		}
	}
	if found != 1 {
		fail(key, "needs exactly one of "+strings.Join(names, " and "), "")
	}
}
