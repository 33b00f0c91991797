package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// Change is one object that differs between a release and the one before it.
type Change struct {
	Role   string `json:"role"`
	Object string `json:"object"`         // Deployment joelclaw/system-bus-worker
	Action string `json:"action"`         // created, configured or removed
	Diff   string `json:"diff,omitempty"` // lines that begin with - or +
}

// fieldsShown is how many fields of one object are shown.
const fieldsShown = 60

// Changes are the objects that differ between two releases, role by role. What every
// release changes, the SHA and version in the annotations, is left out.
func Changes(before, after map[string][]json.RawMessage) []Change {
	var changes []Change
	roles := maps.Clone(before)
	maps.Copy(roles, after)
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		old, now := byName(before[role]), byName(after[role])
		all := maps.Clone(old)
		maps.Copy(all, now)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			switch {
			case now[name] == nil:
				changes = append(changes, Change{Role: role, Object: name, Action: "removed"})
			case old[name] == nil:
				changes = append(changes, Change{Role: role, Object: name, Action: "created"})
			default:
				if fields := differences(old[name], now[name]); len(fields) > 0 {
					changes = append(changes, Change{Role: role, Object: name, Action: "configured", Diff: release.Diff(fields)})
				}
			}
		}
	}
	return changes
}

// byName are objects by what people call them. What is no object is left out.
func byName(objects []json.RawMessage) map[string]map[string]any {
	named := map[string]map[string]any{}
	for _, raw := range objects {
		var o map[string]any
		if json.Unmarshal(raw, &o) != nil {
			continue
		}
		metadata, _ := o["metadata"].(map[string]any)
		name := fmt.Sprint(metadata["name"])
		if namespace, ok := metadata["namespace"].(string); ok {
			name = namespace + "/" + name
		}
		if service, ok := o["service"].(string); ok && metadata == nil { // of a host
			name = service
		}
		kind, _ := o["kind"].(string)
		if kind == "Secret" {
			delete(o, "data")
			delete(o, "stringData")
		}
		named[strings.TrimSpace(kind+" "+name)] = o
	}
	return named
}

// differences are the fields that differ, sorted by path.
func differences(before, after map[string]any) []release.FieldChange {
	old, now := map[string]string{}, map[string]string{}
	flatten(before, "", old)
	flatten(after, "", now)
	all := maps.Clone(old)
	maps.Copy(all, now)
	var fields []release.FieldChange
	for _, path := range slices.Sorted(maps.Keys(all)) {
		stamp := strings.Contains(path, ".annotations.shipit.dev/sha") || strings.Contains(path, ".annotations.shipit.dev/version")
		if old[path] != now[path] && !stamp && len(fields) < fieldsShown {
			fields = append(fields, release.FieldChange{Path: path, Live: old[path], Wanted: now[path]})
		}
	}
	return fields
}

// flatten writes every value below its path. Items of a list stand under their name
// if they have one.
func flatten(value any, at string, into map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			flatten(inner, strings.TrimPrefix(at+"."+key, "."), into)
		}
	case []any:
		for i, item := range v {
			label := fmt.Sprint(i)
			if m, ok := item.(map[string]any); ok && m["name"] != nil {
				label = fmt.Sprint(m["name"])
			}
			flatten(item, fmt.Sprintf("%s[%s]", at, label), into)
		}
	default:
		into[at] = release.OneLine(fmt.Sprint(v))
	}
}
