package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"sort"
	"strings"
	"sync"
)

// Source is the tree of one commit. It is read from git's objects; the working
// directory plays no part.
type Source struct {
	Top    string // root of the work tree; the git directory of a bare repository
	GitDir string
	Rev    string // as it was asked for
	SHA    string // of the commit, full length
	Tree   string // id of its root tree

	shallow bool
	objects *objects
	early   map[string][]byte // files that were read while the tree was listed
	files   map[string]File   // every blob, link and submodule by path
	trees   map[string]string // folder → tree id; "" is the root
}

// File is one entry of a commit's tree that is no folder.
type File struct {
	Path string // slash separated, from the repository's root
	Mode string // git's: 100644, 100755, 120000 a symbolic link, 160000 a submodule
	ID   string // of the object
}

const (
	modeExecutable = "100755"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// NoSuchRevError is a revision that the repository does not know.
type NoSuchRevError struct{ Rev, Dir string }

func (e *NoSuchRevError) Error() string {
	return fmt.Sprintf("%s: no such commit in %s", e.Rev, e.Dir)
}

// AmbiguousRevError is a revision that could be more than one thing.
type AmbiguousRevError struct{ Rev, Detail string }

func (e *AmbiguousRevError) Error() string {
	return fmt.Sprintf("%s is ambiguous: %s", e.Rev, e.Detail)
}

// NotRepositoryError is a folder outside any git repository, or one that git
// refuses to read.
type NotRepositoryError struct{ Dir, Detail string }

func (e *NotRepositoryError) Error() string {
	return fmt.Sprintf("%s is not a git repository: %s", e.Dir, e.Detail)
}

// Open resolves rev ("" is HEAD) in the repository that holds dir and lists the
// commit's tree; files that are sure to be asked for are read at the same time. Close is for when nothing more is read. Errors are *NotRepositoryError, *NoSuchRevError and
// *AmbiguousRevError.
func Open(ctx context.Context, dir, rev string, files ...string) (Source, error) {
	if rev == "" {
		rev = "HEAD"
	}
	s := Source{Rev: rev, early: map[string][]byte{}, files: map[string]File{}, trees: map[string]string{}}
	if err := s.locate(ctx, dir); err != nil {
		return Source{}, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { s.readEarly(ctx, files) })
	err := s.list(ctx)
	reading.Wait()
	if err != nil {
		_ = s.Close()
		return Source{}, fmt.Errorf("list the tree of %s: %w", s.SHA, err)
	}
	return s, nil
}

// readEarly reads files by their names in the commit. What it cannot read is told
// to whoever asks for it.
func (s *Source) readEarly(ctx context.Context, files []string) {
	for _, p := range files {
		var data []byte
		err := s.objects.read(ctx, []blob{{p, s.SHA + ":" + p}}, func(_ blob, _ int64, r io.Reader) (err error) {
			data, err = io.ReadAll(r)
			return err
		})
		if err == nil {
			s.early[p] = data
		}
	}
}

// Close ends the git process that reads the objects; it would end with this one.
func (s Source) Close() error { return s.objects.close() }

// locate finds the repository, the commit and its tree in one question to git,
// which answers line by line up to what it cannot find.
func (s *Source) locate(ctx context.Context, dir string) error {
	if strings.HasPrefix(s.Rev, "-") {
		return &NoSuchRevError{Rev: s.Rev, Dir: dir}
	}
	// The work tree comes last: a bare repository has none.
	out, stderr, err := git(ctx, dir, "rev-parse", "--absolute-git-dir", "--is-shallow-repository", "--is-inside-work-tree",
		s.Rev+"^{commit}", s.Rev+"^{tree}", "--show-toplevel")
	var said *gitError
	if err != nil && !errors.As(err, &said) {
		return fmt.Errorf("read %s with git: %w", dir, err)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) < 3 {
		return &NotRepositoryError{Dir: dir, Detail: lastLine(firstLine(stderr))}
	}
	s.GitDir, s.Top, s.shallow, s.objects = lines[0], lines[0], lines[1] == "true", &objects{gitDir: lines[0]}
	if strings.Contains(stderr, "is ambiguous") {
		return &AmbiguousRevError{Rev: s.Rev, Detail: ambiguity(stderr)}
	}
	if len(lines) < 5 || !objectID.MatchString(lines[3]) || !objectID.MatchString(lines[4]) {
		return &NoSuchRevError{Rev: s.Rev, Dir: dir}
	}
	s.SHA, s.Tree = lines[3], lines[4]
	if len(lines) > 5 {
		s.Top = lines[5]
	}
	return nil
}

var objectID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// ambiguity is the list of candidates that git prints as hints, in one line.
func ambiguity(stderr string) string {
	var parts []string
	for _, line := range strings.Split(stderr, "\n") {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "hint:   "); ok {
			parts = append(parts, strings.TrimSpace(rest))
		}
	}
	if len(parts) == 0 {
		return strings.TrimPrefix(firstLine(stderr), "warning: ")
	}
	return strings.Join(parts, ", ")
}

func (s *Source) list(ctx context.Context) error {
	out, _, err := git(ctx, s.GitDir, "--git-dir="+s.GitDir, "ls-tree", "-r", "-t", "-z", "--full-tree", s.SHA)
	if err != nil {
		return err
	}
	s.trees[""] = s.Tree
	for _, line := range strings.Split(out, "\x00") {
		head, p, ok := strings.Cut(line, "\t")
		fields := strings.Fields(head)
		if !ok || len(fields) != 3 {
			continue
		}
		if fields[1] == "tree" {
			s.trees[p] = fields[2]
			continue
		}
		s.files[p] = File{Path: p, Mode: fields[0], ID: fields[2]}
	}
	return nil
}

// Entries lists the files below a folder ("" is the root) or the file of that
// very path, sorted by path.
func (s Source) Entries(prefix string) []File {
	var out []File
	prefix = strings.Trim(path.Clean("/"+prefix), "/")
	for p, f := range s.files {
		if prefix == "" || p == prefix || strings.HasPrefix(p, prefix+"/") {
			out = append(out, f)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out
}

// Has reports whether the tree holds a file or a folder of that path.
func (s Source) Has(p string) bool {
	_, file := s.files[p]
	_, tree := s.trees[p]
	return file || tree
}

// NotInTreeError is a path that the commit does not hold.
type NotInTreeError struct{ Path, SHA string }

func (e *NotInTreeError) Error() string {
	return fmt.Sprintf("%s: not in the tree of %.7s", e.Path, e.SHA)
}

// Is makes it an fs.ErrNotExist, as of any other file that is not there.
func (e *NotInTreeError) Is(target error) bool { return target == fs.ErrNotExist }

// ReadFile returns the committed bytes of a file; a *NotInTreeError if the
// commit has none of that path.
func (s Source) ReadFile(ctx context.Context, p string) ([]byte, error) {
	f, ok := s.files[path.Clean(p)]
	if !ok || f.Mode == modeSubmodule {
		return nil, &NotInTreeError{Path: p, SHA: s.SHA}
	}
	if data, ok := s.early[f.Path]; ok {
		return data, nil
	}
	var data []byte
	err := s.objects.read(ctx, []blob{{f.Path, f.ID}}, func(_ blob, _ int64, r io.Reader) (err error) {
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

// Dirty lists the paths in which the working directory differs from HEAD,
// untracked ones too. It is for a note to the user: none of them is an input.
func (s Source) Dirty(ctx context.Context) ([]string, error) {
	if s.Top == s.GitDir {
		return nil, nil
	}
	out, _, err := git(ctx, s.Top, "status", "--porcelain=v1", "-z", "--no-renames")
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, line := range strings.Split(out, "\x00") {
		if len(line) > 3 {
			paths = append(paths, line[3:])
		}
	}
	return paths, nil
}

// IsAncestor reports whether the commit is an ancestor of rev, or rev itself.
func (s Source) IsAncestor(ctx context.Context, rev string) (bool, error) {
	if strings.HasPrefix(rev, "-") {
		return false, &NoSuchRevError{Rev: rev, Dir: s.Top}
	}
	_, _, err := git(ctx, s.GitDir, "--git-dir="+s.GitDir, "merge-base", "--is-ancestor", s.SHA, rev)
	var said *gitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &said) && said.code == 1:
		return false, nil
	case errors.As(err, &said):
		return false, &NoSuchRevError{Rev: rev, Dir: s.Top}
	}
	return false, err
}

var scpLike = regexp.MustCompile(`^(?:[^@/]+@)?([^:/]+):([^/].*)$`)

// Origin is the https address of the repository's remote "origin", without
// credentials; "" if it has none or one that is no server's.
func (s Source) Origin(ctx context.Context) string {
	out, _, err := git(ctx, s.GitDir, "--git-dir="+s.GitDir, "config", "--get", "remote.origin.url")
	if err != nil {
		return ""
	}
	raw := strings.TrimSuffix(strings.TrimSpace(out), ".git")
	if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		return "https://" + m[1] + "/" + m[2]
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme == "file" {
		return ""
	}
	if u.Scheme == "ssh" || u.Scheme == "git" {
		return "https://" + u.Hostname() + u.Path
	}
	u.User = nil
	return u.String()
}
