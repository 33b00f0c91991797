package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"

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

// YAML writes objects for people: one document each.
func YAML(objects []json.RawMessage) ([]byte, error) {
	var out bytes.Buffer
	for i, raw := range objects {
		doc, err := yaml.JSONToYAML(raw)
		if err != nil {
			return nil, fmt.Errorf("object %d as YAML: %w", i+1, err)
		}
		out.WriteString("---\n")
		out.Write(doc)
	}
	return out.Bytes(), nil
}
