package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/joelhooks/shipit/release"
)

// schema knows the fields of kinds.
type schema struct {
	kinds  map[string]reflect.Type
	fields map[reflect.Type]map[string]reflect.Type // of each struct that was met, by JSON name
}

func newSchema() schema {
	return schema{kinds: kindTypes(), fields: map[reflect.Type]map[string]reflect.Type{}}
}

// kindTypes are the Go types of the kinds that applications are mostly made of. Of
// any other kind the API server knows the fields.
func kindTypes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"v1/Pod": reflect.TypeFor[corev1.Pod](), "v1/Service": reflect.TypeFor[corev1.Service](), "v1/Namespace": reflect.TypeFor[corev1.Namespace](),
		"v1/ConfigMap": reflect.TypeFor[corev1.ConfigMap](), "v1/Secret": reflect.TypeFor[corev1.Secret](),
		"v1/ServiceAccount": reflect.TypeFor[corev1.ServiceAccount](), "v1/PersistentVolumeClaim": reflect.TypeFor[corev1.PersistentVolumeClaim](),
		"v1/LimitRange": reflect.TypeFor[corev1.LimitRange](), "v1/ResourceQuota": reflect.TypeFor[corev1.ResourceQuota](),
		"apps/v1/Deployment": reflect.TypeFor[appsv1.Deployment](), "apps/v1/StatefulSet": reflect.TypeFor[appsv1.StatefulSet](),
		"apps/v1/DaemonSet": reflect.TypeFor[appsv1.DaemonSet](), "apps/v1/ReplicaSet": reflect.TypeFor[appsv1.ReplicaSet](),
		"batch/v1/Job": reflect.TypeFor[batchv1.Job](), "batch/v1/CronJob": reflect.TypeFor[batchv1.CronJob](),
		"autoscaling/v2/HorizontalPodAutoscaler": reflect.TypeFor[autoscalingv2.HorizontalPodAutoscaler](),
		"networking.k8s.io/v1/Ingress":           reflect.TypeFor[networkingv1.Ingress](), "networking.k8s.io/v1/NetworkPolicy": reflect.TypeFor[networkingv1.NetworkPolicy](),
		"policy/v1/PodDisruptionBudget":     reflect.TypeFor[policyv1.PodDisruptionBudget](),
		"rbac.authorization.k8s.io/v1/Role": reflect.TypeFor[rbacv1.Role](), "rbac.authorization.k8s.io/v1/RoleBinding": reflect.TypeFor[rbacv1.RoleBinding](),
	}
}

// check refuses the values that the API server could not read: a number where
// the field is text, a mapping where it is a list. It names each field by its
// path, and its line. Fields that the type does not have are the server's to refuse.
func (s schema) check(o object) error {
	t, known := s.kinds[o.apiVersion()+"/"+o.kind()]
	if !known || o.file == "" {
		return nil // of a generated object the types are Go's
	}
	var errs []error
	for _, wrong := range s.mismatches(t, o.fields, "") {
		line := o.line
		if at := o.source.doc.lineOf(join(o.source.path, wrong.path)); at > 0 {
			line = at
		}
		errs = append(errs, &Error{Code: release.CodeBadManifest, File: o.file, Line: line, Object: o.id(), Msg: wrong.path + ": " + wrong.msg, Hint: wrong.hint})
	}
	return errors.Join(errs...)
}

// wrongType is a value that its field cannot hold.
type wrongType struct{ path, msg, hint string }

// mismatches are the values at or below path, by the order of keys, that are not of
// the type.
func (s schema) mismatches(t reflect.Type, value any, path string) []wrongType {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if value == nil {
		return nil // the default
	}
	if _, reads := reflect.New(t).Interface().(json.Unmarshaler); reads || t == reflect.TypeFor[[]byte]() {
		return unreadable(t, value, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.inStruct(t, value, path)
	case reflect.Map:
		fields, ok := value.(map[string]any)
		if !ok {
			return wrong(path, "a mapping", value)
		}
		var found []wrongType
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			found = append(found, s.mismatches(t.Elem(), fields[key], join(path, key))...)
		}
		return found
	case reflect.Slice:
		items, ok := value.([]any)
		if !ok {
			return wrong(path, "a list", value)
		}
		var found []wrongType
		for i, item := range items {
			found = append(found, s.mismatches(t.Elem(), item, fmt.Sprintf("%s[%d]", path, i))...)
		}
		return found
	default:
		return inScalar(t, value, path)
	}
}

func (s schema) inStruct(t reflect.Type, value any, path string) []wrongType {
	fields, ok := value.(map[string]any)
	if !ok {
		return wrong(path, "a mapping", value)
	}
	types, known := s.fields[t]
	if !known {
		types = map[string]reflect.Type{}
		fieldTypes(t, types)
		s.fields[t] = types
	}
	var found []wrongType
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if inner, known := types[key]; known {
			found = append(found, s.mismatches(inner, fields[key], join(path, key))...)
		}
	}
	return found
}

// fieldTypes collects the fields of a struct by their JSON names.
func fieldTypes(t reflect.Type, into map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && (name == "" || strings.Contains(options, "inline")):
			fieldTypes(f.Type, into)
		case name != "" && name != "-":
			into[name] = f.Type
		}
	}
}

func inScalar(t reflect.Type, value any, path string) []wrongType {
	ok := true
	want := "text"
	switch t.Kind() {
	case reflect.String:
		_, ok = value.(string)
	case reflect.Bool:
		want = "true or false"
		_, ok = value.(bool)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		want = "a whole number"
		n, isNumber := value.(json.Number)
		_, err := strconv.ParseInt(n.String(), 10, t.Bits())
		ok = isNumber && err == nil
	}
	if ok {
		return nil
	}
	return wrong(path, want, value)
}

// unreadable asks a type that reads its own JSON.
func unreadable(t reflect.Type, value any, path string) []wrongType {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		return []wrongType{{path: path, msg: release.OneLine(strings.TrimPrefix(err.Error(), "json: "))}}
	}
	return nil
}

func wrong(path, want string, value any) []wrongType {
	w := wrongType{path: path, msg: "must be " + want + ", not "}
	switch value := value.(type) {
	case map[string]any:
		w.msg += "a mapping"
	case []any:
		w.msg += "a list"
	case string:
		w.msg += fmt.Sprintf("the text %q", value)
	case json.Number:
		w.msg += "the number " + value.String()
	default:
		w.msg += fmt.Sprint(value)
	}
	if _, isText := value.(string); want == "text" && !isText {
		w.hint = "put it in quotes"
	}
	return []wrongType{w}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// lineOf is the line of the file on which the value at a path begins; 0 if it is
// not found. A key that holds a dot is not.
func (d document) lineOf(path string) int {
	var doc yamlv3.Node
	if yamlv3.Unmarshal(d.text, &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	n, line := doc.Content[0], 0
	for _, part := range strings.Split(path, ".") {
		key, indices, _ := strings.Cut(part, "[")
		if n = value(n, key); n == nil {
			return 0
		}
		for _, index := range strings.FieldsFunc(indices, func(r rune) bool { return r == '[' || r == ']' }) {
			i, err := strconv.Atoi(index)
			if n = target(n); err != nil || i >= len(n.Content) {
				return 0
			}
			n = n.Content[i]
		}
		line = n.Line
	}
	return d.before + line
}

// value is that of a mapping's key, nil if there is none.
func value(n *yamlv3.Node, key string) *yamlv3.Node {
	n = target(n)
	for i := 0; n.Kind == yamlv3.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
