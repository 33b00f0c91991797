package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strings"
	"sync"

	"github.com/joelhooks/shipit/internal/pattern"
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

	kind string // of the object; "" is a blob
}

// Executable reports whether the file may be run.
func (f File) Executable() bool { return f.Mode == "100755" }

// Link reports whether the file is a symbolic link; its content is the target.
func (f File) Link() bool { return f.Mode == "120000" }

// Submodule reports whether it is another repository, of which the commit holds
// the id only.
func (f File) Submodule() bool { return f.Mode == "160000" }

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
	if e.foreign() {
		return fmt.Sprintf("%s belongs to another user, so git does not read it: %s", e.Dir, e.Detail)
	}
	return fmt.Sprintf("%s is not a git repository: %s", e.Dir, e.Detail)
}

// foreign reports whether git found the repository, and distrusts its owner.
func (e *NotRepositoryError) foreign() bool { return strings.Contains(e.Detail, "dubious ownership") }

// Hint is what to do about it.
func (e *NotRepositoryError) Hint() string {
	if e.foreign() {
		at := e.Dir
		if m := regexp.MustCompile(`repository at '(.+)'`).FindStringSubmatch(e.Detail); m != nil {
			at = m[1]
		}
		return "git config --global --add safe.directory " + at
	}
	return "run it inside the monorepo, or name its folder with -C"
}

// UnsafePathError is a file of the commit whose path leads elsewhere when it is
// written to disk.
type UnsafePathError struct{ Path string }

func (e *UnsafePathError) Error() string {
	return fmt.Sprintf("%s: a path of the commit leads out of its folder", e.Path)
}

// Open resolves rev ("" is HEAD) in the repository that holds dir and lists the
// commit's tree; files that are sure to be needed are read at the same time.
// Close ends what reads the objects. Errors are *NotRepositoryError,
// *NoSuchRevError, *AmbiguousRevError and *UnsafePathError.
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

// readEarly reads files by their names in the commit. What it cannot read is an
// error of ReadFile.
func (s *Source) readEarly(ctx context.Context, files []string) {
	for _, p := range files {
		var data []byte
		err := s.objects.read(ctx, []File{{Path: p, ID: s.SHA + ":" + p}}, func(_ File, _ int64, r io.Reader) (err error) {
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

// Origin is the URL of the remote "origin" of the repository that holds dir; "" if it
// has none.
func Origin(ctx context.Context, dir string) string {
	out, _, err := run(ctx, dir, "remote", "get-url", "origin")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// Contains reports whether branch of the repository that holds dir contains a commit.
func Contains(ctx context.Context, dir, commit, branch string) (bool, error) {
	s, err := Open(ctx, dir, commit)
	var none *NoSuchRevError
	if errors.As(err, &none) {
		return false, nil // a commit that is not in this repository is on none of its branches
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	return s.isAncestor(ctx, branch)
}

// locate finds the repository, the commit and its tree by one git process, which
// prints line by line up to what it cannot find.
func (s *Source) locate(ctx context.Context, dir string) error {
	if strings.HasPrefix(s.Rev, "-") {
		return &NoSuchRevError{Rev: s.Rev, Dir: dir}
	}
	// The work tree comes last: a bare repository has none.
	out, stderr, err := run(ctx, dir, "rev-parse", "--absolute-git-dir", "--is-shallow-repository", "--is-inside-work-tree",
		s.Rev+"^{commit}", s.Rev+"^{tree}", "--show-toplevel")
	var said *gitError
	if err != nil && !errors.As(err, &said) {
		return fmt.Errorf("read %s with git: %w", dir, err)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	switch {
	case len(lines) < 3 && notRepository().MatchString(stderr):
		return &NotRepositoryError{Dir: dir, Detail: lastLine(firstLine(stderr))}
	case len(lines) < 3 && err != nil:
		return fmt.Errorf("read %s with git: %w", dir, err)
	case len(lines) < 3 || lines[1] != "true" && lines[1] != "false":
		return fmt.Errorf("read %s with git: it printed %.60q", dir, out)
	}
	s.GitDir, s.Top, s.shallow, s.objects = lines[0], lines[0], lines[1] == "true", newObjects(lines[0])
	if strings.Contains(stderr, "is ambiguous") {
		return &AmbiguousRevError{Rev: s.Rev, Detail: ambiguity(stderr)}
	}
	if len(lines) < 5 || !objectID().MatchString(lines[3]) || !objectID().MatchString(lines[4]) {
		return &NoSuchRevError{Rev: s.Rev, Dir: dir}
	}
	s.SHA, s.Tree = lines[3], lines[4]
	if len(lines) > 5 {
		s.Top = lines[5]
	}
	return nil
}

// notRepository is what git says of a folder outside any repository, or of one that it distrusts.
var notRepository = pattern.Lazy(`not a git repository|dubious ownership`)

var objectID = pattern.Lazy(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

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
	out, _, err := run(ctx, s.GitDir, "--git-dir="+s.GitDir, "ls-tree", "-r", "-t", "-z", "--full-tree", s.SHA)
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
		if path.Clean("/"+p) != "/"+p { // "." or ".." is among its elements
			return &UnsafePathError{Path: p}
		}
		s.files[p] = File{Path: p, Mode: fields[0], ID: fields[2]}
	}
	return nil
}

// Shallow reports whether the history of this clone is cut off, so that tags
// behind the commit may not be in it.
func (s Source) Shallow() bool { return s.shallow }

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

// File is the file of that path.
func (s Source) File(p string) (File, bool) {
	f, ok := s.files[path.Clean(p)]
	return f, ok
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
	if !ok || f.Submodule() {
		return nil, &NotInTreeError{Path: p, SHA: s.SHA}
	}
	if data, ok := s.early[f.Path]; ok {
		return data, nil
	}
	var data []byte
	err := s.objects.read(ctx, []File{f}, func(_ File, _ int64, r io.Reader) (err error) {
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

// Read passes the committed bytes of files of this commit to visit, in order,
// each with its size; what visit leaves unread is skipped. Content that this
// clone does not hold, or holds damaged, is a *MissingObjectError.
func (s Source) Read(ctx context.Context, files []File, visit func(f File, size int64, r io.Reader) error) error {
	return s.objects.read(ctx, files, visit)
}

// ReadFiles passes the committed bytes of each file to visit, in order, through
// one git process; what visit leaves unread is skipped. Paths that the commit
// does not hold, and submodules, are left out.
func (s Source) ReadFiles(ctx context.Context, paths []string, visit func(path string, content io.Reader) error) error {
	var files []File
	for _, p := range paths {
		if f, ok := s.File(p); ok && !f.Submodule() {
			files = append(files, f)
		}
	}
	return s.Read(ctx, files, func(f File, _ int64, r io.Reader) error { return visit(f.Path, r) })
}
