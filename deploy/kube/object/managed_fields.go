package object

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Decode reads a live object. Its managed fields stay the text that they are: as a tree
// they would be most of what an object takes, and few of them are ever looked at.
// ManagedFields reads them.
func Decode(text []byte) (unstructured.Unstructured, error) {
	fields, err := decode(text, "metadata")
	if err != nil {
		return unstructured.Unstructured{}, err
	}
	if metadata, ok := fields["metadata"].(json.RawMessage); ok {
		own, err := decode(metadata, "managedFields")
		if err != nil {
			return unstructured.Unstructured{}, err
		}
		if packed, ok := own["managedFields"].(json.RawMessage); ok {
			own["managedFields"] = string(packed)
		}
		fields["metadata"] = own
	}
	return unstructured.Unstructured{Object: fields}, nil
}

// decode reads an object of JSON whose field of that name stays a json.RawMessage.
func decode(text []byte, raw string) (map[string]any, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, err
	}
	if parts == nil {
		return nil, fmt.Errorf("%s is no object", text)
	}
	out := make(map[string]any, len(parts))
	for name, part := range parts {
		if name == raw {
			out[name] = part
			continue
		}
		var v any
		if err := utiljson.Unmarshal(part, &v); err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// ManagedFields are those of a live object. Those that cannot be read are none.
func ManagedFields(u *unstructured.Unstructured) []metav1.ManagedFieldsEntry {
	packed, ok := packedFields(u)
	if !ok {
		return u.GetManagedFields()
	}
	var out []metav1.ManagedFieldsEntry
	if json.Unmarshal([]byte(packed), &out) != nil {
		return nil
	}
	return out
}

func packedFields(u *unstructured.Unstructured) (string, bool) {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "managedFields")
	packed, ok := v.(string)
	return packed, ok
}

// withoutManagedFields is a live object without its managed fields; nil stays nil. It
// shares the rest.
func withoutManagedFields(u *unstructured.Unstructured) *unstructured.Unstructured {
	if u == nil {
		return nil
	}
	metadata, ok := u.Object["metadata"].(map[string]any)
	if !ok || metadata["managedFields"] == nil {
		return u
	}
	out, own := maps.Clone(u.Object), maps.Clone(metadata)
	delete(own, "managedFields")
	out["metadata"] = own
	return &unstructured.Unstructured{Object: out}
}
