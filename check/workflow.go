package check

import (
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/release"
)

// workflow holds the path filters of the workflow that ships against what goes
// into the release: a change to an input must start it.
func (c *checks) workflow(context.Context) error {
	file := c.Config.Check.Workflow
	if file == "" {
		return nil
	}
	file = path.Clean(file)
	if !c.has(file) {
		c.refuse(release.CodeWorkflowPaths, c.config.position("check.workflow"), file+" is not in the commit", "")
		return nil
	}
	data, err := c.Tree.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		c.refuse(release.CodeWorkflowPaths, file, "is no workflow", "")
		return nil
	}
	push, filtered := onPush(doc.Content[0])
	switch {
	case push == nil:
		c.warn(release.CodeWorkflowPaths, at(file, doc.Content[0].Line), "does not run on push, so no change ships by itself", "")
		return nil
	case !filtered:
		return nil // it runs on every change
	}
	filters, position := c.filters(file, push)
	return c.uncovered(filters, position)
}

// onPush finds the push trigger. False says that it has no path filter.
func onPush(root *yaml.Node) (*yaml.Node, bool) {
	on := field(root, "on")
	if on == nil {
		return nil, false
	}
	if push := field(on, "push"); push != nil {
		return push, field(push, "paths") != nil || field(push, "paths-ignore") != nil
	}
	for _, item := range append([]*yaml.Node{on}, on.Content...) {
		if item.Kind == yaml.ScalarNode && item.Value == "push" {
			return item, false
		}
	}
	return nil, false
}

// filter is one line of paths, or of paths-ignore turned around.
type filter struct {
	re      *regexp.Regexp
	starts  bool
	pattern string
}

func (c *checks) filters(file string, push *yaml.Node) ([]filter, string) {
	list, ignore := field(push, "paths"), false
	var filters []filter
	if list == nil {
		list, ignore = field(push, "paths-ignore"), true
		filters = append(filters, filter{re: regexp.MustCompile(``), starts: true})
	}
	for _, item := range list.Content {
		pattern, not := strings.CutPrefix(item.Value, "!")
		re, err := glob(pattern, maybeMissing)
		if err != nil {
			c.refuse(release.CodeBadPattern, at(file, item.Line), err.Error(), "")
			continue
		}
		if !slices.ContainsFunc(c.files, re.MatchString) {
			c.warn(release.CodeWorkflowPaths, at(file, item.Line), fmt.Sprintf("%q matches no file of the commit", item.Value), "")
		}
		filters = append(filters, filter{re: re, starts: not == ignore, pattern: item.Value})
	}
	return filters, at(file, list.Line)
}

// uncovered reports every input whose change would not start the workflow.
func (c *checks) uncovered(filters []filter, position string) error {
	inputs, err := c.inputs()
	if err != nil {
		return err
	}
	missed := map[string][]missedInput{} // by what they are inputs of
	for _, input := range slices.Sorted(maps.Keys(inputs)) {
		m := missedInput{path: input, pattern: input}
		for _, file := range c.files {
			switch {
			case file != input && !strings.HasPrefix(file, input+"/"):
			case starts(filters, file):
				m.partly = true
			default:
				m.files = append(m.files, file)
			}
		}
		if len(m.files) == 0 {
			continue
		}
		if m.files[0] != input {
			m.pattern += "/**"
		}
		missed[inputs[input]] = append(missed[inputs[input]], m)
	}
	for _, of := range slices.Sorted(maps.Keys(missed)) {
		message, hint := tellMissed(missed[of], of)
		c.refuse(release.CodeWorkflowPaths, position, message, hint)
	}
	return nil
}

// missedInput is an input whose change would not start the workflow.
type missedInput struct {
	path, pattern string   // itself, and what lets it through
	files         []string // those of it that are missed
	partly        bool     // others of it are not
}

// detail names its files, if it is a folder.
func (m missedInput) detail() string {
	switch more := len(m.files) - 1; {
	case m.files[0] == m.path:
		return ""
	case more == 0:
		return " (" + m.files[0] + ")"
	default:
		return fmt.Sprintf(" (%s and %d more)", m.files[0], more)
	}
}

// tellMissed says all that is missed of one image or role, and what to do.
func tellMissed(missed []missedInput, of string) (message, hint string) {
	if len(missed) > 1 {
		paths, patterns := make([]string, len(missed)), make([]string, len(missed))
		for i, m := range missed {
			if paths[i], patterns[i] = m.path, m.pattern; m.partly {
				paths[i] += m.detail()
			}
		}
		last := len(missed) - 1
		return fmt.Sprintf("a change of %s or %s does not start it, and each of them %s", strings.Join(paths[:last], ", "), paths[last], of),
			fmt.Sprintf("let %s and %s through in its path filters", strings.Join(patterns[:last], ", "), patterns[last])
	}
	m := missed[0]
	return fmt.Sprintf("a change of %s%s does not start it, and %s", m.path, m.detail(), of), "let " + m.pattern + " through in its path filters"
}

// inputs are the folders and files of which a release is made, with the reason.
func (c *checks) inputs() (map[string]string, error) {
	inputs := map[string]string{c.Config.Path: "it is the configuration"}
	for _, name := range slices.Sorted(maps.Keys(c.Closures)) {
		for _, p := range c.Closures[name] {
			inputs[p] = "goes into image " + name
		}
	}
	for _, role := range c.Config.Roles {
		if role.Kubernetes == nil {
			continue
		}
		paths, err := c.manifestPaths(role)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			inputs[p] = "is rendered for role " + role.Name
		}
	}
	return inputs, nil
}

// starts reports whether a change of the file starts the workflow: the last
// pattern that matches decides.
func starts(filters []filter, file string) bool {
	started := false
	for _, f := range filters {
		if f.re.MatchString(file) {
			started = f.starts
		}
	}
	return started
}
