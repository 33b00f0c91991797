// Package check finds what can be known to be wrong from the tree of one commit
// alone: forbidden references, commands that change at start what was built,
// function ids that are declared twice, and path filters that miss an input.
package check

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Input is a commit and what its configuration makes of it.
type Input struct {
	Config   config.Config
	Tree     Tree
	Closures map[string][]string // by image: the folders and files that go into it
	// Keyed are findings of others whose Object is a key of the configuration,
	// such as those of the probes; here they are given file and line.
	Keyed []release.Finding
}

// Tree reads the files of a commit. Paths are slash-separated and relative to
// its root.
type Tree interface {
	// ReadFile returns the bytes of a file.
	ReadFile(path string) ([]byte, error)
	// List returns the paths, from the root, of all files at or below path; "" is the root.
	List(path string) ([]string, error)
	// ReadFiles passes the content of each file to visit, in order; what visit
	// leaves unread is skipped. A path that is no file of the commit is left out.
	ReadFiles(paths []string, visit func(path string, content io.Reader) error) error
}

// Run returns the findings, by file and line. Object is file:line where there
// is one. The error is that of the tree or of ctx.
func Run(ctx context.Context, in Input) ([]release.Finding, error) {
	c := &checks{Input: in, config: readKeys(in), modules: map[string]module{}}
	files, err := in.Tree.List("")
	if err != nil {
		return nil, fmt.Errorf("list the tree: %w", err)
	}
	slices.Sort(files)
	c.files = files
	for _, f := range in.Keyed {
		f.Object = c.config.position(f.Object)
		c.findings = append(c.findings, f)
	}
	for _, run := range []func(context.Context) error{c.todos, c.platforms, c.forbidden, c.starts, c.functions, c.workflow} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := run(ctx); err != nil {
			return nil, err
		}
	}
	c.ignored()
	slices.SortStableFunc(c.findings, func(a, b release.Finding) int {
		fileA, lineA := splitPosition(a.Object)
		fileB, lineB := splitPosition(b.Object)
		return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(lineA, lineB), cmp.Compare(a.Code, b.Code))
	})
	return slices.CompactFunc(c.findings, func(a, b release.Finding) bool { return a == b }), nil
}

// checks is one run.
type checks struct {
	Input
	config   keys
	files    []string          // of the tree, sorted
	modules  map[string]module // sources that were read, by file
	findings []release.Finding
}

func (c *checks) refuse(code release.Code, object, message, hint string) {
	c.findings = append(c.findings, release.Finding{Code: code, Severity: release.Refuses, Object: object, Message: message, Hint: hint})
}

func (c *checks) warn(code release.Code, object, message, hint string) {
	c.findings = append(c.findings, release.Finding{Code: code, Severity: release.Warns, Object: object, Message: message, Hint: hint})
}

// has reports whether the tree holds a file of that path.
func (c *checks) has(file string) bool {
	_, found := slices.BinarySearch(c.files, file)
	return found
}

// ignored warns of settings that have no effect beside the user's own manifests.
func (c *checks) ignored() {
	for _, role := range c.Config.Roles {
		k := role.Kubernetes
		if k == nil || len(k.Manifests) == 0 {
			continue
		}
		for name, set := range map[string]bool{
			"replicas": k.Replicas != nil, "envFrom": len(k.EnvFrom) > 0, "pullSecrets": len(k.PullSecrets) > 0,
			"serviceAccount": k.ServiceAccount != "", "resources": len(k.Resources) > 0,
		} {
			if set {
				c.warn(release.CodeIgnoredSetting, c.config.position("roles."+role.Name+".kubernetes."+name),
					name+" has no effect: the role brings its own manifests", "set it there, or drop manifests")
			}
		}
	}
}
