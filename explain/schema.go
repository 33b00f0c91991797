package explain

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
)

// schemaNode is a part of a JSON Schema.
type schemaNode = map[string]any

// definitions are the mappings of a schema, each of which is written once: by name,
// and the name by the text.
type definitions struct {
	byName schemaNode
	names  map[string]string
}

// Schema is the JSON Schema (draft 7, which editors know best) of shipit.yaml.
func Schema() ([]byte, error) {
	d := definitions{byName: schemaNode{}, names: map[string]string{}}
	root, err := d.mapping("", config.Settings())
	if err != nil {
		return nil, err
	}
	root["description"], root["type"], root["definitions"] = answer("", config.Settings()).Description, "object", d.byName
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["$id"] = config.SchemaURL
	root["title"] = config.File
	text, err := json.MarshalIndent(root, "", " ")
	return append(text, '\n'), err
}

// schemaFor is the schema of one setting. A value that is not required may be null,
// as the parser takes it.
func (d definitions) setting(at string, s config.Setting) (schemaNode, error) {
	node := schemaNode{}
	if s.Description != "" {
		node["description"] = s.Description
		if strings.HasPrefix(s.Default, "(") {
			node["description"] = s.Description + " Default: " + strings.Trim(s.Default, "()") + "."
		}
	}
	if value, ok := valueOf(s.Default); ok {
		node["default"] = value
	}
	if value, ok := valueOf(s.Example); ok {
		node["examples"] = []any{value}
	}
	types := typesOf(s)
	if !s.Required {
		types = append(types, "null")
	}
	node["type"] = types
	if len(types) == 1 {
		node["type"] = types[0]
	}
	if s.Kind != config.KindMapping && s.Kind != config.KindList {
		addScalar(node, s)
		maps.Copy(node, rules()[at])
		return node, nil
	}
	if s.Each == nil {
		name, err := d.define(at, s)
		node["allOf"] = []any{schemaNode{"$ref": "#/definitions/" + name}}
		return node, err
	}
	each, err := d.setting(strings.TrimPrefix(at+suffix(s), "."), *s.Each)
	if s.Kind == config.KindList {
		node["items"] = each
		if s.Required {
			node["minItems"] = 1
		}
		return node, err
	}
	node["additionalProperties"] = each
	if s.Required {
		node["minProperties"] = 1
	}
	maps.Copy(node, rules()[at])
	return node, err
}

// define writes a mapping with fixed keys once, and returns its name.
func (d definitions) define(at string, s config.Setting) (string, error) {
	node, err := d.mapping(at, s)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(node)
	if name, known := d.names[string(text)]; known || err != nil {
		return name, err
	}
	name := strings.NewReplacer(".*", "", "[]", "").Replace(at)
	d.byName[name], d.names[string(text)] = node, name
	return name, nil
}

// mapping is what the keys of a mapping must be.
func (d definitions) mapping(at string, s config.Setting) (schemaNode, error) {
	properties, required := schemaNode{}, []string{}
	for _, inner := range s.Settings {
		node, err := d.setting(strings.TrimPrefix(at+"."+inner.Key, "."), inner)
		if err != nil {
			return nil, err
		}
		properties[inner.Key] = node
		if inner.Required {
			required = append(required, inner.Key)
		}
	}
	node := schemaNode{"properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		node["required"] = required
	}
	maps.Copy(node, rules()[at])
	return node, nil
}

func addScalar(node schemaNode, s config.Setting) {
	if pattern := s.Pattern(); pattern != "" {
		node["pattern"] = pattern
	} else if s.Kind == config.KindText && s.Required {
		node["minLength"] = 1
	}
	if s.Kind == config.KindDuration {
		node["maximum"] = 0 // a number alone is no duration, unless it is 0
		node["minimum"] = 0
	}
	if s.Min != nil {
		node["minimum"] = *s.Min
	}
	if s.Max != nil {
		node["maximum"] = *s.Max
	}
	if len(s.Choices) > 0 {
		values := []any{}
		for _, c := range s.Choices {
			values = append(values, c)
		}
		if !s.Required {
			values = append(values, "", nil)
		}
		node["enum"] = values
	}
}

// typesOf are the JSON types that the parser takes for a setting: text may be
// written as a number or as true and false, where its form does not forbid that.
func typesOf(s config.Setting) []string {
	switch s.Kind {
	case config.KindMapping:
		return []string{"object"}
	case config.KindList:
		return []string{"array"}
	case config.KindNumber:
		return []string{"integer"}
	case config.KindBool:
		return []string{"boolean"}
	case config.KindDuration:
		return []string{"string", "integer"}
	}
	pattern := s.Pattern()
	switch {
	case len(s.Choices) > 0, pattern != "" && !regexp.MustCompile(pattern).MatchString("1"):
		return []string{"string"}
	case pattern != "":
		return []string{"string", "integer"}
	default:
		return []string{"string", "number", "boolean"}
	}
}

// valueOf is a default or an example as JSON has it; false for words.
func valueOf(text string) (any, bool) {
	if text == "" || strings.HasPrefix(text, "(") {
		return nil, false
	}
	var value any
	err := yaml.Unmarshal([]byte(text), &value)
	return value, err == nil
}

// rules are what several settings must be together, by the path of the mapping.
func rules() map[string]schemaNode {
	exactlyOne := schemaNode{"oneOf": []any{
		given("path", schemaNode{"not": schemaNode{"enum": []any{"", nil}}}), given("command", schemaNode{"type": "array", "minItems": 1}), given("event", schemaNode{"type": "object"}),
	}}
	return map[string]schemaNode{
		"images.*.services":   {"propertyNames": schemaNode{"pattern": patternOf("app")}},
		"images.*.services.*": {"anyOf": []any{given("image", text()), given("command", schemaNode{"type": "array", "minItems": 1})}},
		"roles":               {"propertyNames": schemaNode{"pattern": patternOf("app")}},
		"roles.*":             {"oneOf": []any{given("kubernetes", schemaNode{"type": "object"}), given("host", schemaNode{"type": "object"})}},
		"roles.*.probe":       exactlyOne,
		"roles.*.probes[]":    exactlyOne,
		"signing": {"allOf": []any{
			when(schemaNode{"const": "key"}, "mode", given("key", text())),
			when(schemaNode{"const": "keyless"}, "mode", schemaNode{"allOf": []any{
				when(text(), "fulcio", given("rekor", text())), when(text(), "rekor", given("fulcio", text())),
				when(text(), "fulcio", given("trustedRoot", text())), when(schemaNode{"const": 2}, "rekorVersion", given("timestamp", text())),
			}}),
		}},
		"signing.policy": {
			"anyOf": []any{given("keys", schemaNode{"type": "array", "minItems": 1}), given("identity", text()), given("issuer", text())},
			"allOf": []any{when(text(), "identity", given("issuer", text())), when(text(), "issuer", given("identity", text()))},
		},
	}
}

// text is a text that is not empty.
func text() schemaNode { return schemaNode{"type": "string", "minLength": 1} }

// given demands a key with a value that is something.
func given(key string, value schemaNode) schemaNode {
	return schemaNode{"required": []string{key}, "properties": schemaNode{key: value}}
}

// when demands then where the value of key is so.
func when(value schemaNode, key string, then schemaNode) schemaNode {
	return schemaNode{"if": given(key, value), "then": then}
}

func patternOf(key string) string {
	s, _ := config.Settings().Child(key)
	return s.Pattern()
}
