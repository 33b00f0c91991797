// Package explain says what a setting of shipit.yaml or a code means: one by one for
// people and scripts, as docs/config.md, and as a JSON Schema for editors. All of it
// is read from where settings and codes are declared, in config and release.
package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Answer is what a setting or a code means.
type Answer struct {
	Kind        string   `json:"kind"` // setting or code
	Name        string   `json:"name"` // images.*.run, roles.*.probes[].path, CrashLoop; "" is the whole file
	Type        string   `json:"type"` // of the value of a setting, or finding or failure
	Description string   `json:"description"`
	Required    bool     `json:"required,omitempty"`
	Default     string   `json:"default,omitempty"` // YAML, or in parentheses words
	Example     string   `json:"example,omitempty"` // YAML
	Choices     []string `json:"choices,omitempty"`
	Settings    []Answer `json:"settings,omitempty"` // of a mapping, one level
	Remedy      string   `json:"remedy,omitempty"`   // of a code
	Allow       bool     `json:"allow,omitempty"`    // of a code: --allow takes it
}

// UnknownError says that a term is neither a setting nor a code.
type UnknownError struct {
	Term  string
	Meant []string // terms that may have been meant
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%q is no setting of %s and no code", e.Term, config.File)
}

// Hint is what may have been meant.
func (e *UnknownError) Hint() string {
	if len(e.Meant) == 0 {
		return "shipit explain lists the settings; docs/codes.md lists the codes"
	}
	return "did you mean " + strings.Join(e.Meant, " or ") + "?"
}

// Find explains a term: a path of keys, in which any name stands for one of the
// user's, the last key of a path, or a code in any case. The error is an
// *UnknownError.
func Find(term string) (Answer, error) {
	if code, ok := findCode(term); ok {
		return code, nil
	}
	path, err := walk(term)
	if err == nil {
		return path, nil
	}
	var meant []string
	for _, a := range all() {
		if strings.TrimSuffix(a.Name, "[]") == term || strings.HasSuffix(strings.TrimSuffix(a.Name, "[]"), "."+term) {
			meant = append(meant, a.Name)
		}
	}
	switch {
	case len(meant) == 1:
		return Find(meant[0])
	case len(meant) > 1:
		err.Meant = meant
	case !strings.Contains(term, ".") && len(err.Meant) == 0:
		err.Meant = similar(term)
	}
	return Answer{}, err
}

// walk follows a path of keys from the top of the file.
func walk(term string) (Answer, *UnknownError) {
	at, name := config.Settings(), ""
	if term == "" {
		return answer("", at), nil
	}
	keys := strings.Split(term, ".")
	for i, key := range keys {
		key, _, _ = strings.Cut(key, "[")
		for at.Kind == config.KindList && at.Each != nil { // its items are meant
			at, name = *at.Each, name+"[]"
		}
		next, ok := at.Child(key)
		if !ok {
			unknown := &UnknownError{Term: term}
			if near := release.Similar(key, at.Keys()); near != "" {
				unknown.Meant = []string{strings.Join(slices.Concat(keys[:i], []string{near}, keys[i+1:]), ".")}
			}
			return Answer{}, unknown
		}
		if at.Each != nil {
			key = "*"
		}
		at, name = next, strings.TrimPrefix(name+"."+key, ".")
	}
	if strings.HasSuffix(term, "]") && at.Each != nil {
		at, name = *at.Each, name+"[]"
	}
	return answer(name, at), nil
}

// similar are the code, and the paths of the setting, that are spelled most like term.
func similar(term string) []string {
	var codes, keys, meant []string
	for _, c := range release.Codes() {
		codes = append(codes, string(c.Code))
	}
	all := all()
	for _, a := range all {
		keys = append(keys, last(a.Name))
	}
	if code := release.Similar(term, codes); code != "" {
		meant = append(meant, code)
	}
	if key := release.Similar(term, keys); key != "" {
		for _, a := range all {
			if last(a.Name) == key {
				meant = append(meant, a.Name)
			}
		}
	}
	return meant
}

func last(name string) string { return name[strings.LastIndex(name, ".")+1:] }

func findCode(term string) (Answer, bool) {
	for _, c := range release.Codes() {
		if strings.EqualFold(string(c.Code), term) {
			kind := string(c.Kind)
			if c.Kind == release.OfBoth {
				kind = "finding or failure"
			}
			return Answer{Kind: "code", Name: string(c.Code), Type: kind, Description: c.Meaning, Remedy: c.Remedy, Allow: c.Allow}, true
		}
	}
	return Answer{}, false
}

// answer explains a setting, and names those inside it.
func answer(name string, s config.Setting) Answer {
	a := brief(name, s)
	if name == "" {
		a.Description = "The configuration of one monorepo, at its root."
	}
	inner := s
	for inner.Each != nil && len(inner.Settings) == 0 {
		name += suffix(inner)
		inner = *inner.Each
	}
	for _, child := range inner.Settings {
		a.Settings = append(a.Settings, brief(strings.TrimPrefix(name+"."+child.Key, "."), child))
	}
	return a
}

// suffix is what the name of a value or item of s has more than that of s.
func suffix(s config.Setting) string {
	if s.Kind == config.KindList {
		return "[]"
	}
	return ".*"
}

func brief(name string, s config.Setting) Answer {
	a := Answer{Kind: "setting", Name: name, Type: typeOf(s), Description: s.Description, Required: s.Required, Default: s.Default, Example: s.Example, Choices: s.Choices}
	if s.Each != nil && s.Choices == nil {
		a.Choices = s.Each.Choices
	}
	return a
}

// typeOf is what the value must be, in words.
func typeOf(s config.Setting) string {
	switch {
	case s.Kind == config.KindList && s.Each.Kind == config.KindList:
		return "list of commands"
	case s.Kind == config.KindList && s.Each.Kind == config.KindText:
		return "list of texts"
	case s.Kind == config.KindList:
		return "list of mappings"
	case s.Kind == config.KindMapping && s.Each != nil:
		return "mapping by name"
	case s.Kind == config.KindBool:
		return "true or false"
	case s.Kind == config.KindNumber:
		return "whole number"
	default:
		return string(s.Kind)
	}
}

// all explains every setting, in the order of the file; those of environments are
// those of the rest and are left out.
func all() []Answer {
	var all []Answer
	var visit func(name string, s config.Setting)
	visit = func(name string, s config.Setting) {
		if name != "" {
			all = append(all, brief(name, s))
		}
		if s.Key == "environments" {
			return
		}
		for s.Each != nil {
			name += suffix(s)
			s = *s.Each
			if s.Description != "" {
				all = append(all, brief(name, s))
			}
		}
		for _, child := range s.Settings {
			visit(strings.TrimPrefix(name+"."+child.Key, "."), child)
		}
	}
	visit("", config.Settings())
	return all
}

// Complete are the terms that begin so, in any case: the settings one level down,
// and the codes. Each is followed by a tab and its meaning, as shells show it.
func Complete(begun string) []string {
	parent := begun[:max(0, strings.LastIndex(begun, "."))]
	var terms []string
	a, err := walk(parent)
	if err == nil && strings.HasPrefix(a.Type, "mapping by name") {
		a.Settings = []Answer{{Name: "*", Description: "any name of yours"}}
	}
	if err == nil {
		for _, s := range a.Settings {
			name := strings.TrimPrefix(parent+"."+last(s.Name), ".")
			if strings.HasPrefix(name, begun) {
				terms = append(terms, name+"\t"+s.Description)
			}
		}
	}
	for _, c := range release.Codes() {
		if len(c.Code) >= len(begun) && strings.EqualFold(string(c.Code)[:len(begun)], begun) {
			terms = append(terms, string(c.Code)+"\t"+c.Meaning)
		}
	}
	return terms
}
