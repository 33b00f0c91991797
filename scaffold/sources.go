package scaffold

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// constant is a string, or a list of strings, that a source file names.
type constant struct {
	name   string
	values []string
	list   bool
	line   int
}

var (
	constantRule = pattern.Lazy(`(?m)^\s*(?:export\s+)?(?:const|let|var)\s+(\w+)[^=\n]*=\s*(?:new\s+Set(?:<[^>]*>)?\()?\s*(\[[^\]]*\]|"[^"\n]*"|'[^'\n]*')`)
	stringRule   = pattern.Lazy(`"([^"\n]+)"|'([^'\n]+)'`)
	commentRule  = pattern.Lazy(`(?m)//[^\n]*$`)
)

// constants are those of a TypeScript or JavaScript file that hold literal strings only.
func constants(text string) []constant {
	var found []constant
	for _, m := range constantRule().FindAllStringSubmatchIndex(text, -1) {
		body := commentRule().ReplaceAllString(text[m[4]:m[5]], "")
		c := constant{name: text[m[2]:m[3]], list: body[0] == '[', line: lineAt(text, m[2])}
		for _, s := range stringRule().FindAllStringSubmatch(body, -1) {
			c.values = append(c.values, s[1]+s[2])
		}
		if rest := stringRule().ReplaceAllString(body, ""); len(c.values) > 0 && strings.Trim(rest, "[], \t\r\n") == "" {
			found = append(found, c)
		}
	}
	return found
}

// isSource reports whether a file is TypeScript or JavaScript.
func isSource(at string) bool {
	return slices.Contains([]string{".ts", ".js", ".mjs", ".mts", ".cjs"}, path.Ext(at)) && !strings.HasSuffix(at, ".d.ts")
}

var functionsRule = pattern.Lazy(`(?m)^\s*(?:export\s+)?const\s+\w*[fF]unction\w*[^=\n]*=\s*\[`)

// functionLists are the files of a package that list the functions of these roles:
// index.cluster.ts, cluster.ts.
func functionLists(f files, dir string, roles []string) []string {
	var found []string
	for _, at := range f.below(dir) {
		stem := strings.TrimSuffix(path.Base(at), path.Ext(at))
		named := slices.ContainsFunc(roles, func(role string) bool {
			return stem == role || strings.HasSuffix(stem, "."+role) || strings.HasPrefix(stem, role+".")
		})
		if named && isSource(at) && functionsRule().MatchString(f.text(at)) {
			found = append(found, at)
		}
	}
	return found
}

var sharedRule = pattern.Lazy(`(?i)dual|duplicate|intentional|shared|both`)

// sharedFunctions are the ids that a test or validator beside the lists lets several
// roles have, and where it says so.
func sharedFunctions(f files, dir string, lists []string) (ids []string, from string) {
	for _, at := range f.below(dir) {
		text := f.text(at)
		if !isSource(at) || slices.Contains(lists, at) || !mentionsAll(text, lists) {
			continue
		}
		for _, c := range constants(text) {
			if c.list && sharedRule().MatchString(c.name) {
				return c.values, place(at, c.line)
			}
		}
	}
	return nil, ""
}

// mentionsAll reports whether a source imports all of the files.
func mentionsAll(text string, lists []string) bool {
	return len(lists) > 0 && !slices.ContainsFunc(lists, func(list string) bool {
		return !strings.Contains(text, "/"+strings.TrimSuffix(path.Base(list), path.Ext(list)))
	})
}

// ban is text that a validator of the repository forbids.
type ban struct {
	text  string
	allow []string
	from  string
}

var (
	validatorRule = pattern.Lazy(`(?i)(^|/)(validate|check|verify|guard|no)-[^/]*$`)
	bannedRule    = pattern.Lazy(`(?i)marker|forbid|forbidden|legacy|banned|disallowed`)
	allowedRule   = pattern.Lazy(`(?i)allow`)
)

// bans are what the repository's validators forbid, with the paths that they allow.
func bans(f files) []ban {
	var found []ban
	for _, at := range f.paths {
		if !isSource(at) || !validatorRule().MatchString(at) || strings.Contains(path.Base(at), ".test.") {
			continue
		}
		var texts []located
		var allow []string
		for _, c := range constants(f.text(at)) {
			switch {
			case allowedRule().MatchString(c.name):
				allow = append(allow, c.values...)
			case bannedRule().MatchString(c.name):
				for _, text := range c.values {
					texts = append(texts, located{text, c.line})
				}
			}
		}
		for i, entry := range allow {
			if strings.HasSuffix(entry, "/") {
				allow[i] = entry + "**"
			}
		}
		if !slices.Contains(allow, at) {
			allow = append(allow, at)
		}
		for _, text := range texts {
			found = append(found, ban{regexp.QuoteMeta(text.text), allow, place(at, text.line)})
		}
	}
	return found
}

// workflow is a workflow of GitHub Actions that builds or ships.
type workflow struct {
	file  string
	paths []string // of its push trigger
	calls bool     // it calls shipit; otherwise it ships by other means
}

var (
	callsRule = pattern.Lazy(`shipit (release|plan|build)\b|/shipit/\.github/workflows/`)
	shipsRule = pattern.Lazy(`shipit (release|plan|build)\b|/shipit/\.github/workflows/|docker/build-push-action|docker (buildx )?build|kubectl (apply|set image)`)
	pathsRule = pattern.Lazy(`(?m)^\s*paths:\s*\n((?:\s*-\s.*\n)+)`)
)

// shippingWorkflow is the workflow that ships: the one that calls shipit, or the
// first that builds images or applies manifests and runs on a push. No file if there is none.
func shippingWorkflow(f files) workflow {
	var found workflow
	for _, at := range f.below(".github/workflows") {
		text := f.text(at)
		if !shipsRule().MatchString(text) || !strings.Contains(text, "push") {
			continue
		}
		calls := callsRule().MatchString(text)
		if found.file != "" && !calls {
			continue
		}
		found = workflow{file: at, calls: calls}
		if m := pathsRule().FindStringSubmatch(text); m != nil {
			for _, line := range strings.Split(strings.TrimSpace(m[1]), "\n") {
				found.paths = append(found.paths, strings.Trim(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "-")), `"'`))
			}
		}
		if calls {
			return found
		}
	}
	return found
}
