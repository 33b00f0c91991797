package check

import (
	"path"
	"slices"
	"strings"
)

// importDepth is how many files a name is followed through.
const importDepth = 6

// idOf is the id of the function that a name of a file stands for, found in the file
// that declares it; false if it is not declared in the tree in a way that is known.
func (c *checks) idOf(file, name string) (string, bool) {
	space, member, dotted := strings.Cut(name, ".")
	m := c.module(file)
	if dotted {
		from, ok := m.spaces[space]
		if !ok {
			return "", false
		}
		return c.exported(resolved(c, file, from), member, importDepth)
	}
	if from, ok := m.imports[name]; ok {
		return c.exported(resolved(c, file, from.file), from.name, importDepth)
	}
	id, ok := m.ids[name]
	return id, ok
}

// exported is the id of what a file exports under a name.
func (c *checks) exported(file, name string, depth int) (string, bool) {
	if file == "" || depth == 0 {
		return "", false
	}
	m := c.module(file)
	if from, ok := m.exports[name]; ok {
		if from.file != "" {
			return c.exported(resolved(c, file, from.file), from.name, depth-1)
		}
		name = from.name
	}
	if id, ok := m.ids[name]; ok {
		return id, true
	}
	if from, ok := m.imports[name]; ok {
		return c.exported(resolved(c, file, from.file), from.name, depth-1)
	}
	for _, from := range m.all {
		if id, ok := c.exported(resolved(c, file, from), name, depth-1); ok {
			return id, true
		}
	}
	return "", false
}

// resolved is the file of the tree that an import of another file names; "" for a
// package, or if there is none.
func resolved(c *checks, file, spec string) string {
	if !strings.HasPrefix(spec, ".") {
		return ""
	}
	at := path.Join(path.Dir(file), spec)
	stem := strings.TrimSuffix(strings.TrimSuffix(at, ".js"), ".mjs")
	for _, try := range []string{at, stem + ".ts", stem + ".mts", stem + ".tsx", stem + ".js", stem + ".mjs", at + "/index.ts", at + "/index.js"} {
		if c.has(try) {
			return try
		}
	}
	return ""
}

// module is what a source file imports, exports and declares, as far as function ids go.
type module struct {
	imports map[string]imported // by the name that it has here
	spaces  map[string]string   // import * as name: the file
	exports map[string]imported // by the name that others see; no file: of this one
	all     []string            // export * from: the files
	ids     map[string]string   // ids of the functions that it declares, by constant
}

type imported struct{ file, name string }

func (c *checks) module(file string) module {
	if m, read := c.modules[file]; read {
		return m
	}
	m := c.readModule(file)
	c.modules[file] = m
	return m
}

func (c *checks) readModule(file string) module {
	m := module{imports: map[string]imported{}, spaces: map[string]string{}, exports: map[string]imported{}, ids: map[string]string{}}
	data, err := c.Tree.ReadFile(file)
	if err != nil {
		return m
	}
	tokens := lex(string(data))
	for i, t := range tokens {
		if t.kind != name {
			continue
		}
		switch t.text {
		case "import":
			m.imported(clause(tokens[i+1:]))
		case "export":
			m.exported(tokens[i+1:])
		case "const", "let", "var":
			if i+1 < len(tokens) && tokens[i+1].kind == name {
				if id, ok := declaredID(tokens[i+2:]); ok {
					m.ids[tokens[i+1].text] = id
				}
			}
		}
	}
	return m
}

// clause is an import or export up to the file that it names, and that file.
func clause(tokens []token) ([]token, string) {
	for i, t := range tokens {
		if t.kind == literal && i > 0 && tokens[i-1].text == "from" {
			return tokens[:i-1], t.text
		}
		if t.text == ";" || t.text == "=" || t.text == "(" {
			break
		}
	}
	return nil, ""
}

func (m module) imported(names []token, file string) {
	if file == "" || len(names) == 0 {
		return
	}
	if names[0].kind == name && names[0].text != "type" {
		m.imports[names[0].text] = imported{file, "default"}
	}
	if len(names) > 2 && names[0].text == "*" {
		m.spaces[names[2].text] = file
	}
	for local, from := range braced(names) {
		m.imports[local] = imported{file, from}
	}
}

func (m *module) exported(tokens []token) {
	if len(tokens) > 1 && tokens[0].text == "default" && tokens[1].kind == name {
		m.exports["default"] = imported{"", tokens[1].text}
		return
	}
	names, file := clause(tokens)
	if file == "" && len(tokens) > 0 && tokens[0].text == "{" {
		names = tokens
	}
	if len(names) == 1 && names[0].text == "*" {
		m.all = append(m.all, file)
	}
	for out, own := range braced(names) {
		m.exports[out] = imported{file, own}
	}
}

// braced are the pairs in { a, b as c }: a → a, c → b.
func braced(tokens []token) map[string]string {
	pairs := map[string]string{}
	start := slices.IndexFunc(tokens, func(t token) bool { return t.text == "{" })
	if start < 0 {
		return pairs
	}
	var words []string
	for _, t := range tokens[start+1:] {
		switch {
		case t.kind == name && t.text != "type":
			words = append(words, t.text)
		case t.text == "," || t.text == "}":
			if len(words) > 0 {
				pairs[words[len(words)-1]] = words[0]
			}
			words = nil
			if t.text == "}" {
				return pairs
			}
		}
	}
	return pairs
}

// declaredID is the id of the function that a constant is set to: the first argument of
// the call that makes it, or the id of the object that is. tokens follow the name.
func declaredID(tokens []token) (string, bool) {
	depth := 0
	for i, t := range tokens {
		switch {
		case t.kind == punctuation && strings.Contains("<({[", t.text):
			depth++
		case t.kind == punctuation && strings.Contains(">)}]", t.text):
			depth--
		case t.kind == punctuation && t.text == ";":
			return "", false
		case t.text == "=" && depth == 0:
			return calledWith(tokens[i+1:])
		}
	}
	return "", false
}

// calledWith is the id in the first argument of a call.
func calledWith(tokens []token) (string, bool) {
	if len(tokens) < 3 || tokens[0].kind != name || tokens[1].text != "(" {
		return "", false
	}
	if tokens[2].kind == literal {
		return tokens[2].text, true
	}
	if tokens[2].text != "{" {
		return "", false
	}
	depth := 0
	for i, t := range tokens[2:] {
		switch {
		case t.kind == punctuation && strings.Contains("({[", t.text):
			depth++
		case t.kind == punctuation && strings.Contains(")}]", t.text):
			if depth--; depth == 0 {
				return "", false
			}
		case t.kind == name && t.text == "id" && depth == 1 && i+4 < len(tokens) && tokens[i+3].text == ":" && tokens[i+4].kind == literal:
			return tokens[i+4].text, true
		}
	}
	return "", false
}
