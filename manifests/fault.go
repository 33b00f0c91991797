package manifests

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// Error is a fault in the manifests of a role.
type Error struct {
	Code      release.Code
	File      string // path in the tree; empty for generated objects
	Line      int    // 1-based; 0 if unknown
	Object    string // such as Deployment joelclaw/system-bus-worker
	Container string
	Msg       string
	Hint      string // what to do, empty if there is nothing to add
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
	if e.Container != "" {
		parts = append(parts, "container "+e.Container)
	}
	return strings.Join(append(parts, e.Msg), ": ")
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
