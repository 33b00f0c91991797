package git

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

func open(t *testing.T, dir, rev string) Source {
	t.Helper()
	s, err := Open(context.Background(), dir, rev)
	require.NoError(t, err)
	return s
}

func TestOpenResolvesARevision(t *testing.T) {
	r := sample.New(t, sample.Options{})
	first := r.Git("rev-parse", "HEAD")
	r.Tag("v1.0.0")
	second := r.Commit("two", map[string]string{"notes.txt": "two\n"})
	for rev, want := range map[string]string{
		"": second, "HEAD": second, "main": second, "v1.0.0": first, "HEAD~1": first, first: first, first[:9]: first,
	} {
		t.Run("of "+rev, func(t *testing.T) {
			s := open(t, filepath.Join(r.Dir, "packages"), rev)
			require.Equal(t, want, s.SHA)
			require.Equal(t, r.Git("rev-parse", want+"^{tree}"), s.Tree)
			require.Equal(t, want == second, s.Has("notes.txt"))
		})
	}
}

func TestOpenSaysWhatIsWrongWithARevision(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for _, rev := range []string{"nope", "v9.9.9", "HEAD:packages", "-q", strings.Repeat("0", 40)} {
		t.Run(rev+" is no commit", func(t *testing.T) {
			_, err := Open(context.Background(), r.Dir, rev)
			var none *NoSuchRevError
			require.ErrorAs(t, err, &none)
			require.Equal(t, rev, none.Rev)
		})
	}
	t.Run("a branch and a tag of one name are ambiguous", func(t *testing.T) {
		r.Tag("twin")
		r.Commit("two", nil)
		r.Git("branch", "twin")
		_, err := Open(context.Background(), r.Dir, "twin")
		var ambiguous *AmbiguousRevError
		require.ErrorAs(t, err, &ambiguous)
	})
	t.Run("a folder without a repository", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
		_, err := Open(context.Background(), dir, "HEAD")
		var none *NotRepositoryError
		require.ErrorAs(t, err, &none)
		require.ErrorContains(t, err, dir)
	})
	t.Run("a repository without a commit", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
		_, err := Open(context.Background(), dir, "")
		var none *NoSuchRevError
		require.ErrorAs(t, err, &none)
	})
}

func TestNothingButTheCommitIsRead(t *testing.T) {
	const page = "packages/website/src/page.ts"
	read := func(t *testing.T, r *sample.Repo) string {
		t.Helper()
		data, err := open(t, r.Dir, "HEAD").ReadFile(context.Background(), page)
		require.NoError(t, err)
		return string(data)
	}
	t.Run("changes of the working directory are a note", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		want := r.Read(page)
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, page), []byte("dirty"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, "untracked.txt"), nil, 0o644))
		require.Equal(t, want, read(t, r))
		s := open(t, r.Dir, "")
		require.False(t, s.Has("untracked.txt"))
		dirty, err := s.Dirty(context.Background())
		require.NoError(t, err)
		require.ElementsMatch(t, []string{page, "untracked.txt"}, dirty)
	})
	t.Run("variables of git do not lead elsewhere", func(t *testing.T) {
		r, other := sample.New(t, sample.Options{}), sample.New(t, sample.Options{})
		other.Commit("other", map[string]string{page: "other"})
		t.Setenv("GIT_DIR", filepath.Join(other.Dir, ".git"))
		t.Setenv("GIT_WORK_TREE", other.Dir)
		t.Setenv("GIT_OBJECT_DIRECTORY", filepath.Join(other.Dir, ".git", "objects"))
		require.NotEqual(t, "other", read(t, r))
	})
	t.Run("attributes change no byte", func(t *testing.T) {
		r := sample.New(t, sample.Options{Edits: map[string]string{
			".gitattributes": "*.ts text eol=crlf export-subst\npackages/website export-ignore\n", page: "$Format:%H$\n",
		}})
		require.Equal(t, "$Format:%H$\n", read(t, r))
	})
	t.Run("a replacement object does not stand in", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		want := r.Read(page)
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, "fake"), []byte("fake"), 0o644))
		r.Git("replace", r.Git("rev-parse", "HEAD:"+page), r.Git("hash-object", "-w", "fake"))
		require.Equal(t, "fake", r.Git("cat-file", "blob", "HEAD:"+page), "git itself must be fooled for this to show anything")
		require.Equal(t, want, read(t, r))
	})
}

func TestContentThatIsNotThereIsNamed(t *testing.T) {
	const page = "packages/website/src/page.ts"
	t.Run("a lost object", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		id := r.Git("rev-parse", "HEAD:"+page)
		require.NoError(t, os.Remove(filepath.Join(r.Dir, ".git", "objects", id[:2], id[2:])))
		_, err := open(t, r.Dir, "").ReadFile(context.Background(), page)
		var missing *MissingObjectError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, page, missing.Path)
	})
	t.Run("an object with the bytes of another", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		object := func(path string) string {
			id := r.Git("rev-parse", "HEAD:"+path)
			return filepath.Join(r.Dir, ".git", "objects", id[:2], id[2:])
		}
		other, err := os.ReadFile(object("README.md"))
		require.NoError(t, err)
		require.NoError(t, os.Remove(object(page)))
		require.NoError(t, os.WriteFile(object(page), other, 0o444))
		_, err = open(t, r.Dir, "").ReadFile(context.Background(), page)
		var damaged *MissingObjectError
		require.ErrorAs(t, err, &damaged)
		require.Equal(t, page, damaged.Path)
		require.Contains(t, damaged.Reason, "is damaged")
	})
	t.Run("in a partial clone nothing is fetched", func(t *testing.T) {
		r := sample.New(t, sample.Options{})
		r.Git("config", "uploadpack.allowFilter", "true")
		clone := filepath.Join(t.TempDir(), "clone")
		r.Git("clone", "-q", "--no-checkout", "--filter=blob:none", "file://"+r.Dir, clone)
		_, err := open(t, clone, "").ReadFile(context.Background(), page)
		var missing *MissingObjectError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, page, missing.Path)
	})
	t.Run("a file that was never there", func(t *testing.T) {
		_, err := open(t, sample.New(t, sample.Options{}).Dir, "").ReadFile(context.Background(), "no/such.ts")
		var none *NotInTreeError
		require.ErrorAs(t, err, &none)
	})
}

func TestWhatIsReadWhileTheTreeIsListed(t *testing.T) {
	r := sample.New(t, sample.Options{})
	const page = "packages/website/src/page.ts"
	want, err := open(t, r.Dir, "").ReadFile(t.Context(), page)
	require.NoError(t, err)

	s, err := Open(t.Context(), r.Dir, "", page, "no/such.ts")
	require.NoError(t, err)
	defer s.Close()
	got, err := s.ReadFile(t.Context(), page)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, want, s.early[page])
	_, err = s.ReadFile(t.Context(), "no/such.ts")
	var none *NotInTreeError
	require.ErrorAs(t, err, &none)
	other, err := s.ReadFile(t.Context(), "package.json")
	require.NoError(t, err)
	require.NotEmpty(t, other, "a file that was not there ended that git; another answers")

	// A damaged object is not believed because it was early.
	id := r.Git("rev-parse", "HEAD:"+page)
	object := filepath.Join(r.Dir, ".git", "objects", id[:2], id[2:])
	id = r.Git("rev-parse", "HEAD:README.md")
	readme, err := os.ReadFile(filepath.Join(r.Dir, ".git", "objects", id[:2], id[2:]))
	require.NoError(t, err)
	require.NoError(t, os.Remove(object))
	require.NoError(t, os.WriteFile(object, readme, 0o444))
	s, err = Open(t.Context(), r.Dir, "", page)
	require.NoError(t, err)
	defer s.Close()
	_, err = s.ReadFile(t.Context(), page)
	var damaged *MissingObjectError
	require.ErrorAs(t, err, &damaged)
}

func TestVersion(t *testing.T) {
	version := func(t *testing.T, r *sample.Repo) string {
		t.Helper()
		v, err := open(t, r.Dir, "").Version(context.Background())
		require.NoError(t, err)
		return v
	}
	r := sample.New(t, sample.Options{})
	short := func() string { return r.Git("rev-parse", "HEAD")[:7] }
	require.Equal(t, "0.0.0-dev.1.g"+short(), version(t, r), "no tag: the length of the history")
	r.Tag("v1.10.0-rc.1")
	require.Equal(t, "1.10.0-rc.1", version(t, r), "a pre-release, where the commit has no other tag")
	r.Git("tag", "-m", "annotated", "v1.4.1")
	r.Tag("v1.4.2")
	r.Tag("nightly")
	require.Equal(t, "1.4.2", version(t, r), "the highest tag of the commit; a pre-release does not win over a release")
	r.Commit("two", nil)
	r.Commit("three", nil)
	require.Equal(t, "1.4.3-dev.2.g"+short(), version(t, r), "the patch after the highest released tag of the nearest tagged commit")
	r.Tag("v2.0.0+build")
	r.Tag("v2")
	require.Equal(t, "1.4.3-dev.2.g"+short(), version(t, r), "tags that are no vX.Y.Z do not count")
	r.Tag("v1.5.0")
	require.Equal(t, "1.5.0", version(t, r))

	t.Run("of a shallow clone has no count", func(t *testing.T) {
		r.Commit("four", nil)
		clone := filepath.Join(t.TempDir(), "clone")
		r.Git("clone", "-q", "--depth=1", "file://"+r.Dir, clone)
		v, err := open(t, clone, "").Version(context.Background())
		require.NoError(t, err)
		require.Equal(t, "0.0.0-dev.0.g"+short(), v)
	})
}

func TestIsAncestor(t *testing.T) {
	r := sample.New(t, sample.Options{})
	first := open(t, r.Dir, "")
	r.Commit("two", nil)
	r.Git("checkout", "-q", "--orphan", "other")
	r.Commit("alone", nil)
	for rev, want := range map[string]bool{"main": true, first.SHA: true, "other": false} {
		got, err := first.isAncestor(context.Background(), rev)
		require.NoError(t, err)
		require.Equal(t, want, got, rev)
	}
	_, err := first.isAncestor(context.Background(), "nope")
	var none *NoSuchRevError
	require.ErrorAs(t, err, &none)
}
