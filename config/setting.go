package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kind is what the value of a setting is.
type Kind string

const (
	KindMapping  Kind = "mapping"
	KindList     Kind = "list"
	KindText     Kind = "text"
	KindNumber   Kind = "number"
	KindBool     Kind = "bool"
	KindDuration Kind = "duration"
)

// Setting is a key of the configuration, as the tags of the Go types declare it.
type Setting struct {
	Key         string // empty for what stands under a name or in a list
	Kind        Kind
	Description string
	Default     string // in YAML, or in parentheses in words; empty if there is none
	Example     string // in YAML
	Required    bool
	Choices     []string // the only values
	Rule        string   // the form of the text, a name that Pattern knows
	Min, Max    *int
	Settings    []Setting // the keys of a mapping whose keys are fixed, in their order
	Each        *Setting  // a value of a mapping whose keys are names, or an item of a list
}

// Settings is the whole file as one mapping. Environments have the keys of the rest,
// none of them required.
func Settings() Setting {
	root, patch := settingFor(reflect.TypeFor[Config]()), settingFor(reflect.TypeFor[Config]())
	at := slices.IndexFunc(root.Settings, func(s Setting) bool { return s.Key == "environments" })
	patch.Settings = slices.Delete(patch.Settings, at, at+1)
	patch.demandNothing()
	patch.Description = root.Settings[at].Each.Description
	root.Settings[at].Each = &patch
	return root
}

// demandNothing takes Required from everything in s.
func (s *Setting) demandNothing() {
	s.Required = false
	for i := range s.Settings {
		s.Settings[i].demandNothing()
	}
	if s.Each != nil {
		s.Each.demandNothing()
	}
}

// Child is the setting of that key in a mapping.
func (s Setting) Child(key string) (Setting, bool) {
	if s.Kind != KindMapping {
		return Setting{}, false
	}
	if s.Each != nil {
		return *s.Each, true
	}
	for _, inner := range s.Settings {
		if inner.Key == key {
			return inner, true
		}
	}
	return Setting{}, false
}

// Keys are the keys of a mapping whose keys are fixed.
func (s Setting) Keys() []string {
	keys := make([]string, len(s.Settings))
	for i, inner := range s.Settings {
		keys[i] = inner.Key
	}
	return keys
}

// settingFor is a type without what the tag of a field says of it.
func settingFor(t reflect.Type) Setting {
	switch t {
	case reflect.TypeFor[Roles]():
		each := settingFor(reflect.TypeFor[Role]())
		return Setting{Kind: KindMapping, Each: &each}
	case reflect.TypeFor[Duration]():
		return Setting{Kind: KindDuration}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return settingFor(t.Elem())
	case reflect.Slice:
		each := settingFor(t.Elem())
		return Setting{Kind: KindList, Each: &each}
	case reflect.Map:
		each := Setting{Kind: KindMapping}
		if t.Elem() != reflect.TypeFor[yaml.Node]() {
			each = settingFor(t.Elem())
		}
		return Setting{Kind: KindMapping, Each: &each}
	case reflect.Struct:
		s := Setting{Kind: KindMapping}
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); key != "-" {
				s.Settings = append(s.Settings, tagged(settingFor(t.Field(i).Type), key, t.Field(i).Tag))
			}
		}
		return s
	case reflect.Int:
		return Setting{Kind: KindNumber}
	case reflect.Bool:
		return Setting{Kind: KindBool}
	default:
		return Setting{Kind: KindText}
	}
}

// tagged adds what the tag of a field says. Choices, rule and bounds hold for what is in a
// list or mapping.
func tagged(s Setting, key string, tag reflect.StructTag) Setting {
	s.Key, s.Description, s.Default, s.Example = key, tag.Get("doc"), tag.Get("default"), tag.Get("example")
	s.Required = tag.Get("required") == "true"
	of := &s
	if s.Each != nil {
		s.Each.Description = tag.Get("each")
		of = s.Each
	}
	of.Rule, of.Min, of.Max = tag.Get("rule"), number(tag.Get("min")), number(tag.Get("max"))
	if choices := tag.Get("choices"); choices != "" {
		of.Choices = strings.Fields(choices)
	}
	return s
}

func number(text string) *int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	return &n
}

// Pattern is the regular expression that the text must match; empty if any may be.
func (s Setting) Pattern() string {
	switch {
	case s.Kind == KindDuration:
		return durationPattern
	case s.Rule != "":
		return patterns()[s.Rule]
	default:
		return ""
	}
}

// durationPattern is what time.ParseDuration accepts, without a minus.
const durationPattern = `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^\+?0$`

// patterns are the forms of texts that validate demands, for those who read the file
// without this package. That of a path lets some pass that lead out on a detour.
func patterns() map[string]string {
	return map[string]string{
		"name":       nameRule().String(),
		"pinned":     pinnedRule().String(),
		"base":       "^scratch$|" + pinnedRule().String(),
		"repository": repoRule().String(),
		"user":       userRule().String(),
		"variable":   variableRule().String(),
		"webhook":    webhookRule().String(),
		"platform":   "/",
		"path":       `^(\.|\./.*|\.?[^./].*|\.\.[^/].*)$`,
		"service":    `^[^/ \t\n'"]+$`,
	}
}

// node is the kind of YAML node that the value is.
func (k Kind) node() yaml.Kind {
	switch k {
	case KindMapping:
		return yaml.MappingNode
	case KindList:
		return yaml.SequenceNode
	default:
		return yaml.ScalarNode
	}
}

// words is the kind as a message names it.
func (k Kind) words() string {
	switch k {
	case KindNumber:
		return "a whole number"
	case KindBool:
		return "true or false"
	case KindText:
		return "text"
	default:
		return "a " + string(k)
	}
}

// decode reports why a scalar is no value of the setting.
func (s Setting) decode(n *yaml.Node) error {
	switch s.Kind {
	case KindNumber:
		if n.Tag != "!!int" { // the library would cut a fraction off
			return &yaml.TypeError{}
		}
		return n.Decode(new(int))
	case KindBool:
		return n.Decode(new(bool))
	case KindDuration:
		return n.Decode(new(Duration))
	default:
		return n.Decode(new(string))
	}
}
