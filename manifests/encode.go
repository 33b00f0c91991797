package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"
)

// encode gives canonical JSON: no spaces, keys sorted, numbers as they were read.
func encode(objects []object) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, 0, len(objects))
	for _, o := range objects {
		data, err := json.Marshal(o.fields)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.id(), err)
		}
		out = append(out, data)
	}
	return out, nil
}

// decode reads one rendered object back.
func decode(raw json.RawMessage) (object, error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return object{}, fmt.Errorf("decode object: %w", err)
	}
	return object{fields: fields}, nil
}

// YAML writes objects for people: one document each. One that YAML's readers refuse, such as
// one with a key of more than 1,024 characters, is written as JSON.
func YAML(objects []json.RawMessage) []byte {
	var out bytes.Buffer
	for _, raw := range objects {
		doc, err := yaml.JSONToYAML(raw)
		if err != nil {
			doc = append(slices.Clone(raw), '\n')
		}
		out.WriteString("---\n")
		out.Write(doc)
	}
	return out.Bytes()
}
