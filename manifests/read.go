package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/release"
)

// read gives the objects of one entry of a role's manifests: a file, a folder of
// files (its subfolders are not looked into), or a kustomization. Beside an error stand
// the objects that could be read.
func read(tree Tree, at string) ([]object, error) {
	at = path.Clean(at)
	files, err := tree.List(at)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", at, err)
	}
	files = slices.Sorted(slices.Values(files))
	switch {
	case len(files) == 0:
		return nil, &Error{Code: release.CodeBadManifest, File: at, Msg: "is neither a file nor a folder of the commit", Hint: "commit it, or correct the role's manifests"}
	case files[0] != at:
	case slices.Contains(kustomizationNames(), path.Base(at)):
		return kustomize(tree, path.Dir(at))
	default:
		data, err := tree.ReadFile(at)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", at, err)
		}
		return parse(at, data)
	}
	for _, name := range kustomizationNames() {
		if slices.Contains(files, path.Join(at, name)) {
			return kustomize(tree, at)
		}
	}
	return readFolder(tree, at, files)
}

func readFolder(tree Tree, at string, files []string) ([]object, error) {
	var objects []object
	var errs []error
	for _, file := range files {
		if path.Dir(file) != at || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(file)) {
			continue
		}
		data, err := tree.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		found, err := parse(file, data)
		objects, errs = append(objects, found...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return objects, err
	}
	if len(objects) == 0 {
		return nil, &Error{Code: release.CodeBadManifest, File: at, Msg: "no .yaml, .yml or .json file in it holds an object", Hint: "subfolders are not read; name them one by one"}
	}
	return objects, nil
}

// parse reads the documents of one file, several at a time. Beside an error stand the
// objects of the others.
func parse(file string, data []byte) ([]object, error) {
	docs := split(data)
	found, errs := make([][]object, len(docs)), make([]error, len(docs))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, doc := range docs {
		group.Go(func() error {
			found[i], errs[i] = doc.objects(file)
			return nil
		})
	}
	_ = group.Wait() // its errors are in errs
	return slices.Concat(found...), errors.Join(errs...)
}

// objects reads one document: an object, a List of them, or only comments.
func (d document) objects(file string) ([]object, error) {
	if d.after > 0 {
		return nil, &Error{
			Code: release.CodeBadManifest, File: file, Line: d.after, Msg: "is after the document's end (...), where kubectl drops it without a word",
			Hint: "begin another document with ---, or remove it",
		}
	}
	asJSON, err := toJSON(d.text)
	if err != nil {
		return nil, d.fault(file, err)
	}
	if bytes.Equal(asJSON, []byte("null")) {
		return nil, nil
	}
	o := object{file: file, line: d.line, source: source{doc: d}}
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.UseNumber()
	if err := dec.Decode(&o.fields); err != nil {
		return nil, &Error{Code: release.CodeBadManifest, File: file, Line: d.line, Msg: "is no mapping, so no Kubernetes object"}
	}
	return flatten(o)
}

// flatten checks that o is an object, and splits a List into its items.
func flatten(o object) ([]object, error) {
	switch {
	case o.apiVersion() == "":
		return nil, &Error{Code: release.CodeBadManifest, File: o.file, Line: o.line, Object: o.id(), Msg: "has no apiVersion", Hint: "every document of a manifest is a Kubernetes object"}
	case o.kind() == "":
		return nil, &Error{Code: release.CodeBadManifest, File: o.file, Line: o.line, Object: o.id(), Msg: "has no kind", Hint: "every document of a manifest is a Kubernetes object"}
	}
	if items, ok := o.fields["items"].([]any); ok && strings.HasSuffix(o.kind(), "List") {
		var objects []object
		for i, item := range items {
			fields, ok := item.(map[string]any)
			if !ok {
				return nil, o.fault(release.CodeBadManifest, fmt.Sprintf("item %d is no object", i+1), "")
			}
			inner := source{doc: o.source.doc, path: join(o.source.path, fmt.Sprintf("items[%d]", i))}
			flat, err := flatten(object{fields: fields, file: o.file, line: o.line, source: inner})
			if err != nil {
				return nil, err
			}
			objects = append(objects, flat...)
		}
		return objects, nil
	}
	if o.name() == "" {
		return nil, o.fault(release.CodeBadManifest, "has no metadata.name", "generateName is not enough: what is applied again must have one name")
	}
	return []object{o}, nil
}

// document is a part of a file between two --- lines.
type document struct {
	text   []byte
	line   int // of its first line that holds more than a comment, 1-based
	before int // lines of the file before text
	after  int // line of the first text after the document's end; 0 if there is none
}

// split cuts a file at its --- lines. In YAML three dashes in the first column
// end a document wherever they are, and so do three dots.
func split(data []byte) []document {
	var docs []document
	d, line, ended := document{}, 0, false
	flush := func() {
		if d.line > 0 || d.after > 0 {
			docs = append(docs, d)
		}
		d, ended = document{before: line}, false
	}
	for rest := data; len(rest) > 0; {
		var l []byte
		l, rest, _ = bytes.Cut(rest, []byte("\n"))
		if tail, is := marker(l, "---"); is {
			flush()
			l = tail
		}
		line++
		if tail, is := marker(l, "..."); is {
			ended, l = true, tail
		}
		trimmed := bytes.TrimSpace(l)
		isText := len(trimmed) > 0 && trimmed[0] != '#'
		switch {
		case ended && isText && trimmed[0] != '%' && d.after == 0:
			d.after = line
		case ended:
			continue
		case isText && d.line == 0:
			d.line = line
		}
		d.text = append(append(d.text, l...), '\n')
	}
	flush()
	return docs
}

// marker is what follows a document marker on its line; false if it is none.
func marker(l []byte, mark string) ([]byte, bool) {
	tail, found := bytes.CutPrefix(l, []byte(mark))
	if !found || len(tail) > 0 && !strings.ContainsRune(" \t\r", rune(tail[0])) {
		return nil, false
	}
	return tail, true
}

// fault reads the line out of the YAML library's message.
func (d document) fault(file string, err error) error {
	line := d.line
	msg := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	msg = strings.TrimPrefix(msg, "yaml: ")
	msg = strings.TrimSpace(strings.TrimPrefix(msg, "unmarshal errors:"))
	if m := regexp.MustCompile(`(?s)^line (\d+): (.*)$`).FindStringSubmatch(msg); m != nil {
		within, _ := strconv.Atoi(m[1])
		line = d.before + within
		msg, _, _ = strings.Cut(m[2], "\n")
	}
	return &Error{Code: release.CodeBadManifest, File: file, Line: line, Msg: msg}
}
