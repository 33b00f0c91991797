package release

import "strings"

// Action is what a release does to one object.
type Action string

const (
	ActionCreated    Action = "created"
	ActionConfigured Action = "configured"
	ActionReplaced   Action = "replaced"  // deleted and created again: a Job whose template changed
	ActionPruned     Action = "pruned"    // deleted: the release does not have it
	ActionUnchanged  Action = "unchanged" // left as it is
	ActionSwitched   Action = "switched"  // another image runs, or none: what runs says it all
)

// FieldChange is one field of an object that differs from what a release states.
// Secrets are masked.
type FieldChange struct {
	Path   string `json:"path"`             // as people read it: spec.template.spec.containers[web].image
	Live   string `json:"live,omitempty"`   // a text is quoted where it needs quotes; empty: there is no such field
	Wanted string `json:"wanted,omitempty"` // likewise
}

// Diff shows people what differs: a line "- path: live" and a line "+ path: wanted"
// a field, or one of them.
func Diff(fields []FieldChange) string {
	var lines []string
	for _, f := range fields {
		if f.Live != "" {
			lines = append(lines, "- "+f.Path+": "+f.Live)
		}
		if f.Wanted != "" {
			lines = append(lines, "+ "+f.Path+": "+f.Wanted)
		}
	}
	return strings.Join(lines, "\n")
}
