// Package compare finds how a live object differs from the one that is wanted,
// without asking the cluster: whether an apply would change it, which fields other
// managers own, what has drifted, and the difference in lines for people.
package compare

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Covers reports whether live holds everything that want holds, so that applying
// want would change nothing. What live holds besides is the server's or another
// manager's.
func Covers(want, live any) bool { return covers("", want, live) }

// quantityMaps are the fields whose values the server rewrites into its own form
// of a quantity: 1000m becomes 1.
var quantityMaps = map[string]bool{"limits": true, "requests": true, "hard": true, "capacity": true, "min": true, "max": true,
	"default": true, "defaultRequest": true, "overhead": true, "podFixed": true}

var quantityFields = map[string]bool{"sizeLimit": true, "divisor": true, "averageValue": true}

// droppedIfZero are the fields that the server does not keep when they are false, 0
// or empty. For any other field a missing value differs from a written zero.
var droppedIfZero = map[string]bool{"hostNetwork": true, "hostPID": true, "hostIPC": true, "stdin": true, "stdinOnce": true, "tty": true,
	"readOnly": true, "paused": true, "publishNotReadyAddresses": true, "initialDelaySeconds": true, "minReadySeconds": true,
	"value": true, "subPath": true, "serviceName": true}

// covers compares the values of the field of that name.
func covers(field string, want, live any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return live == nil && len(w) == 0
		}
		for key, v := range w {
			have, present := l[key]
			switch {
			case !present && (empty(v) || droppedIfZero[key] && zero(v)):
			case !present:
				return false
			case quantityMaps[field] || quantityFields[key]:
				if !equalQuantities(v, have) {
					return false
				}
			case !covers(key, v, have):
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		return ok && coversList(field, w, l) || live == nil && len(w) == 0
	default:
		return equalScalars(want, live)
	}
}

// coversList compares lists by the key of their items where they have one, else
// item by item.
func coversList(field string, want, live []any) bool {
	if len(want) == 0 {
		return len(live) == 0
	}
	for i, w := range want {
		key := itemKey(w)
		switch {
		case key != nil:
			if !anyItem(live, func(l any) bool { return key.equal(itemKey(l)) && covers(field, w, l) }) {
				return false
			}
		case field == "finalizers":
			if !anyItem(live, func(l any) bool { return equalScalars(w, l) }) {
				return false
			}
		case len(want) != len(live) || !covers(field, w, live[i]):
			return false
		}
	}
	return true
}

func anyItem(list []any, is func(any) bool) bool {
	for _, l := range list {
		if is(l) {
			return true
		}
	}
	return false
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

func equalScalars(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

// number is a number as one type: a rendered object holds JSON's float64 where a
// live one holds int64.
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

// equalQuantities compares 1000m with 1, and a number with its text.
func equalQuantities(a, b any) bool {
	x, errX := resource.ParseQuantity(fmt.Sprint(a))
	y, errY := resource.ParseQuantity(fmt.Sprint(b))
	if errX != nil || errY != nil {
		return equalScalars(a, b)
	}
	return x.Cmp(y) == 0
}
