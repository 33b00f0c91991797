package kube

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// has reports whether an object is in the cluster just as it would be sent, and to
// stay. A Job that failed has to run again.
func (s applySet) has(o *object, live *unstructured.Unstructured, p policy) bool {
	if live == nil || live.GetDeletionTimestamp() != nil || failedJob(live) || live.GetAnnotations()[appliedAnnotation] != o.hash || live.GetLabels()[partOfLabel] != s.id {
		return false
	}
	if covers(o.body.Object, live.Object) {
		return true
	}
	want := o.body.DeepCopy().Object
	return cedeBeforehand(want, live, p) && covers(want, live.Object)
}

// covers reports whether live holds everything that want says, so that applying
// want would change nothing. What live has besides is the server's or another's.
func covers(want, live any) bool { return coversAt("", want, live) }

// quantityMaps are the fields whose values the server rewrites into its own form
// of a quantity: 1000m becomes 1.
var quantityMaps = map[string]bool{"limits": true, "requests": true, "hard": true, "capacity": true, "min": true, "max": true,
	"default": true, "defaultRequest": true, "overhead": true, "podFixed": true}

var quantityFields = map[string]bool{"sizeLimit": true, "divisor": true, "averageValue": true}

// silent are the fields that the server does not keep when they are false, 0 or
// empty. For any other field a missing value differs from a written zero.
var silent = map[string]bool{"hostNetwork": true, "hostPID": true, "hostIPC": true, "stdin": true, "stdinOnce": true, "tty": true,
	"readOnly": true, "paused": true, "publishNotReadyAddresses": true, "initialDelaySeconds": true, "minReadySeconds": true,
	"value": true, "subPath": true, "serviceName": true}

func coversAt(at string, want, live any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return live == nil && len(w) == 0
		}
		for key, v := range w {
			have, present := l[key]
			switch {
			case !present && (empty(v) || silent[key] && zero(v)):
			case !present:
				return false
			case quantityMaps[at] || quantityFields[key]:
				if !sameQuantity(v, have) {
					return false
				}
			case !coversAt(key, v, have):
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		return ok && coversList(at, w, l) || live == nil && len(w) == 0
	default:
		return sameScalar(want, live)
	}
}

// coversList compares lists by the key of their items where they have one, else
// place by place.
func coversList(at string, want, live []any) bool {
	if len(want) == 0 {
		return len(live) == 0
	}
	for i, w := range want {
		key := listKey(w)
		switch {
		case key != "":
			if !someItem(live, func(l any) bool { return listKey(l) == key && coversAt(at, w, l) }) {
				return false
			}
		case at == "finalizers":
			if !someItem(live, func(l any) bool { return sameScalar(w, l) }) {
				return false
			}
		case len(want) != len(live) || !coversAt(at, w, live[i]):
			return false
		}
	}
	return true
}

func someItem(list []any, is func(any) bool) bool {
	for _, l := range list {
		if is(l) {
			return true
		}
	}
	return false
}

// listKey is what the server tells the items of a list apart by; empty if the
// list is one value as a whole.
func listKey(item any) string {
	m, ok := item.(map[string]any)
	if !ok {
		return ""
	}
	protocol := m["protocol"]
	if protocol == nil {
		protocol = "TCP"
	}
	for _, field := range []string{"containerPort", "port"} {
		if n, ok := m[field]; ok {
			return fmt.Sprintf("%s=%v/%v", field, n, protocol)
		}
	}
	for _, field := range []string{"mountPath", "devicePath", "name"} {
		if s, ok := m[field].(string); ok {
			return field + "=" + s
		}
	}
	return ""
}

// empty reports whether a value says nothing: null, {} or [].
func empty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, inner := range x {
			if !empty(inner) {
				return false
			}
		}
		return true
	case []any:
		return len(x) == 0
	}
	return false
}

func zero(v any) bool {
	switch x := v.(type) {
	case bool:
		return !x
	case string:
		return x == ""
	}
	n, ok := number(v)
	return ok && n == 0
}

func sameScalar(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// sameQuantity compares 1000m with 1, and a number with its text.
func sameQuantity(a, b any) bool {
	x, errX := resource.ParseQuantity(fmt.Sprint(a))
	y, errY := resource.ParseQuantity(fmt.Sprint(b))
	if errX != nil || errY != nil {
		return sameScalar(a, b)
	}
	return x.Cmp(y) == 0
}
