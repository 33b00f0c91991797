package scaffold

import (
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

var (
	versionRule = pattern.Lazy(`\d+(\.\d+){0,2}`)
	runtimeRule = pattern.Lazy(`(?:^|[\s/;&])(bun|node|deno)\s`)
)

// runtime is the program that a command starts, bun or node, and the version that
// this repository wants of it: that of the image's own Dockerfile, of the repository's
// version files, or of another Dockerfile.
func (a *author) runtime(i *image, command []string) (program, version, from string) {
	m := runtimeRule().FindStringSubmatch(strings.Join(command, " ") + " ")
	if m == nil {
		return "", "", ""
	}
	program = m[1]
	places := append([]string{i.docker.file, "." + program + "-version"}, a.files.named("Dockerfile")...)
	if program == "node" {
		places = slices.Insert(places, 2, ".nvmrc")
	}
	for _, at := range places {
		text, line := strings.TrimSpace(a.files.text(at)), 0
		if path.Base(at) == "Dockerfile" {
			text, line = a.tagOf(at, program)
		}
		// The one that says most of it is the one that is meant.
		if v := versionRule().FindString(text); strings.Count(v, ".") > strings.Count(version, ".") || version == "" && v != "" {
			version, from = v, place(at, line)
		}
		if version != "" && at == i.docker.file {
			break
		}
	}
	if version != "" {
		return program, version, from
	}
	var root packageJSON
	a.files.json("package.json", &root)
	return program, versionRule().FindString(root.Engines[program]), place("package.json", lineOf(a.files.text("package.json"), `"engines"`))
}

// tagOf is the tag of a Dockerfile's base, if that is an image of the program.
func (a *author) tagOf(at, program string) (string, int) {
	d := readDockerfile(a.files, at)
	ref, _, _ := strings.Cut(d.base.text, "@")
	if path.Base(withoutTag(ref)) != program {
		return "", 0
	}
	return strings.TrimPrefix(ref, withoutTag(ref)+":"), d.base.line
}

var envFileRule = pattern.Lazy(`(?:\$\{?HOME\}?|~|/)[\w./-]*\.env\b`)

// envFile is the file that the scripts of a service read variables from, and where
// they do; "" if none does.
func (a *author) envFile(s *service) (file, from string) {
	if s.envFile != "" {
		return s.envFile, s.file
	}
	home := "~"
	for _, v := range s.env {
		if v.name == "HOME" {
			home = v.value
		}
	}
	for _, word := range s.program {
		at := a.files.inTree(word)
		text := a.files.text(at)
		if found := envFileRule().FindString(text); at != "" && found != "" {
			return strings.NewReplacer("${HOME}", home, "$HOME", home, "~", home).Replace(found), place(at, lineOf(text, found))
		}
	}
	return "", ""
}

// program names what a service starts: the script of the repository, or the program.
func (a *author) program(s *service) string {
	for _, word := range s.program {
		if at := a.files.inTree(word); at != "" {
			return at
		}
	}
	return s.program[0]
}
