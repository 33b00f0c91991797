package manifests

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// Error is a fault in the manifests of a role.
type Error struct {
	Code   release.Code
	File   string // path in the tree; empty for generated objects
	Line   int    // 1-based; 0 if unknown
	Object string // such as Deployment joelclaw/system-bus-worker
	Part   string // of the object, such as container web or volume data
	Msg    string
	Hint   string // what to do, empty if there is nothing to add
}

// Error is position, object and cause in one line.
func (e *Error) Error() string {
	var parts []string
	if e.File != "" {
		parts = append(parts, position(e.File, e.Line))
	}
	if e.Object != "" {
		parts = append(parts, e.Object)
	}
	if e.Part != "" {
		parts = append(parts, e.Part)
	}
	return strings.Join(append(parts, e.Msg), ": ")
}

// Finding is the fault as something that stands in the way of a release of role.
func (e *Error) Finding(role string) release.Finding {
	bare := *e
	f := release.Finding{Code: e.Code, Severity: release.Refuses, Role: role, Object: e.Object, Hint: e.Hint, Fixed: true}
	if e.File != "" {
		f.Object, bare.File = position(e.File, e.Line), ""
	} else {
		bare.Object = ""
	}
	f.Message = bare.Error()
	return f
}

func position(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
