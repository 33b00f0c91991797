package lockfile

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits are the platforms that a package is for, as it says itself; the zero value is
// for all.
type Limits struct {
	OS   Values `json:"os" yaml:"os"`
	CPU  Values `json:"cpu" yaml:"cpu"`
	Libc Values `json:"libc" yaml:"libc"`
}

// Platform is what packages are installed for, in npm's words.
type Platform struct {
	OS   string // linux, darwin, win32
	CPU  string // x64, arm64, ia32
	Libc string // glibc, musl; "" if it does not matter, as on every system but linux
}

// PlatformOf is an operating system and an architecture of Go in npm's words.
func PlatformOf(goos, goarch string) Platform {
	p := Platform{OS: goos, CPU: goarch}
	switch goarch {
	case "amd64":
		p.CPU = "x64"
	case "386":
		p.CPU = "ia32"
	}
	if goos == "windows" {
		p.OS = "win32"
	}
	return p
}

// Any reports whether the package is for all platforms.
func (l Limits) Any() bool { return len(l.OS)+len(l.CPU)+len(l.Libc) == 0 }

// Allow reports whether the package is for a platform.
func (l Limits) Allow(p Platform) bool {
	return l.OS.allow(p.OS) && l.CPU.allow(p.CPU) && (p.Libc == "" || l.Libc.allow(p.Libc))
}

// Values are what may be, or with "!" what may not.
type Values []string

// UnmarshalJSON reads a list or a single string.
func (v *Values) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = Values{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(v))
}

// UnmarshalYAML reads a list or a single string.
func (v *Values) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*v = Values{node.Value}
		return nil
	}
	return node.Decode((*[]string)(v))
}

func (v Values) allow(value string) bool {
	if len(v) == 0 || slices.Contains(v, "any") || slices.Contains(v, value) {
		return true
	}
	for _, s := range v {
		if !strings.HasPrefix(s, "!") {
			return false
		}
	}
	return !slices.Contains(v, "!"+value)
}
