package check

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// start is one command that runs when a role starts, or is meant to.
type start struct {
	position string   // file:line
	words    []string // of an argv; nil: text
	text     string   // of a shell
	dir      string   // the folder in which it runs, of the tree; "" if unknown
	runs     bool     // it is what a role starts, not only a script of that name
}

// starts looks at everything that runs when a role starts, and at what that
// runs in turn: shell scripts of the tree and scripts of package.json.
func (c *checks) starts(ctx context.Context) error {
	t := &tracer{checks: c, seen: map[string]bool{}}
	for _, role := range c.Config.Roles {
		if err := ctx.Err(); err != nil {
			return err
		}
		img := c.Config.Images[role.Image]
		if len(img.Entrypoint) > 0 {
			t.follow(start{position: c.config.position("images." + role.Image + ".entrypoint"), words: img.Entrypoint, dir: img.Package, runs: true})
		}
		if role.Host != nil && len(role.Host.Command) > 0 {
			t.follow(start{position: c.config.position("roles." + role.Name + ".host.command"), words: role.Host.Command, dir: img.Package, runs: true})
		}
		if role.Kubernetes != nil {
			if err := t.manifests(role, img); err != nil {
				return err
			}
		}
		for _, folder := range c.Closures[role.Image] {
			for _, name := range []string{"prestart", "start", "poststart"} {
				t.script(folder, name, false)
			}
		}
	}
	return nil
}

// tracer follows commands into the scripts that they run.
type tracer struct {
	*checks
	seen map[string]bool
}

func (t *tracer) follow(s start) {
	key := fmt.Sprintf("%s %q %s %t", s.position, s.words, s.text, s.runs)
	if t.seen[key] {
		return
	}
	t.seen[key] = true
	commands := [][]string{s.words}
	if s.words == nil {
		commands = split(s.text)
	}
	for _, words := range commands {
		if text, ok := shellText(words); ok {
			t.follow(start{position: s.position, text: text, dir: s.dir, runs: s.runs})
			continue
		}
		t.command(s, words)
		t.scripts(s, words)
	}
}

// command refuses a command that changes what was built, or may.
func (t *tracer) command(s start, words []string) {
	if what := mutation(words); what != "" {
		t.refuse(release.CodeRuntimeMutation, s.position, what+" at start changes what runs after it was built",
			"do it in the image's run commands: what starts is what was built, and nothing else")
		return
	}
	if s.runs && installs(words) {
		t.refuse(release.CodeRuntimeInstall, s.position, "bun without --no-install fetches a missing package from the registry when it starts",
			"write bun --no-install run …")
	}
}

// scripts follows a command into a script of package.json or of the tree.
func (t *tracer) scripts(s start, words []string) {
	if s.dir == "" {
		return
	}
	name, args := program(words)
	if slices.Contains([]string{"bun", "npm", "pnpm", "yarn"}, name) {
		what := ran(args)
		for _, script := range []string{"pre" + what, what, "post" + what} {
			t.script(s.dir, script, s.runs)
		}
	}
	for _, word := range words {
		file := path.Join(s.dir, word)
		if path.IsAbs(word) || !t.has(file) {
			continue
		}
		t.shellFile(s, file)
	}
}

// shellFile follows every line of a shell script.
func (t *tracer) shellFile(s start, file string) {
	data, err := t.Tree.ReadFile(file)
	if err != nil || !isShell(file, data) {
		return
	}
	for i, line := range joined(string(data)) {
		if strings.TrimSpace(line) != "" {
			t.follow(start{position: at(file, i+1), text: line, dir: s.dir, runs: s.runs})
		}
	}
}

// joined are the lines of a script; one that goes on is joined to the line where it begins.
func joined(text string) []string {
	lines := strings.Split(text, "\n")
	for i := len(lines) - 2; i >= 0; i-- {
		if head, goesOn := strings.CutSuffix(lines[i], "\\"); goesOn {
			lines[i], lines[i+1] = head+" "+lines[i+1], ""
		}
	}
	return lines
}

func isShell(file string, data []byte) bool {
	if slices.Contains([]string{".sh", ".bash", ".zsh"}, path.Ext(file)) {
		return true
	}
	shebang, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.HasPrefix(shebang, []byte("#!")) && bytes.HasSuffix(bytes.TrimSpace(shebang), []byte("sh"))
}

// script follows a script of the folder's package.json, if it has that one.
func (t *tracer) script(folder, name string, runs bool) {
	file := path.Join(folder, "package.json")
	if !t.has(file) {
		return
	}
	data, err := t.Tree.ReadFile(file)
	if err != nil {
		return
	}
	var doc yaml.Node // JSON is YAML, and here it has lines
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return // the closure reports it
	}
	if s := field(field(doc.Content[0], "scripts"), name); s != nil {
		t.follow(start{position: at(file, s.Line), text: s.Value, dir: folder, runs: runs})
	}
}

// manifests follows the commands of the containers in a role's manifests.
func (t *tracer) manifests(role config.Role, img config.Image) error {
	paths, err := t.manifestPaths(role)
	if err != nil {
		return err
	}
	for _, p := range paths {
		files, err := t.Tree.List(p)
		if err != nil {
			return fmt.Errorf("list %s: %w", p, err)
		}
		for _, file := range files {
			if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(file)) {
				continue
			}
			data, err := t.Tree.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			t.documents(file, data, img)
		}
	}
	return nil
}

// documents reads as far as the file is YAML; rendering reports what is not.
func (t *tracer) documents(file string, data []byte, img config.Image) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return
		}
		t.containers(file, &doc, img)
	}
}

func (t *tracer) containers(file string, n *yaml.Node, img config.Image) {
	for _, list := range []string{"containers", "initContainers"} {
		if items := field(n, list); items != nil {
			for _, container := range items.Content {
				t.container(file, container, img)
			}
		}
	}
	for _, inner := range n.Content {
		t.containers(file, inner, img)
	}
}

func (t *tracer) container(file string, n *yaml.Node, img config.Image) {
	dir := ""
	if image := field(n, "image"); image != nil && runsImage(image.Value, img.Repository) {
		dir = img.Package
	}
	command, args := scalars(field(n, "command")), scalars(field(n, "args"))
	if len(command) == 0 && dir != "" && len(args) > 0 {
		command = img.Entrypoint
	}
	if words := append(slices.Clone(command), args...); len(words) > 0 {
		line := n.Line
		for _, key := range []string{"args", "command"} {
			if value := field(n, key); value != nil {
				line = value.Line
			}
		}
		t.follow(start{position: at(file, line), words: words, dir: dir, runs: true})
	}
	for _, hook := range []string{"postStart", "preStop"} {
		if value := field(field(field(field(n, "lifecycle"), hook), "exec"), "command"); value != nil {
			t.follow(start{position: at(file, value.Line), words: scalars(value), dir: dir, runs: true})
		}
	}
}

func scalars(n *yaml.Node) []string {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	words := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		words = append(words, item.Value)
	}
	return words
}

// runsImage reports whether a reference is the repository with any tag or digest.
func runsImage(ref, repository string) bool {
	rest, same := strings.CutPrefix(ref, repository)
	return same && (rest == "" || rest[0] == ':' || rest[0] == '@')
}
