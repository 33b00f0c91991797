package content

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/hosttest"
)

// members are the files and hard links of a tar, by name: a file is its content, a link
// "-> " and its target.
func members(t *testing.T, text []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		switch {
		case h.Typeflag == tar.TypeLink:
			found[h.Name] = "-> " + h.Linkname
		case h.Typeflag == tar.TypeReg && h.Name != "./"+entriesFile && h.Name != "./"+Manifest:
			found[h.Name] = string(body)
		}
	}
}

func alsoNamed(name, target string) hosttest.Entry {
	return hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}}
}

func TestATreeIsSentWithoutWhatAMachineHas(t *testing.T) {
	long := string(bytes.Repeat([]byte("long/"), 40)) + "name"
	layer := layerOf(t, hosttest.File("a", "one"), hosttest.File(long, "two"), hosttest.File("c", "three"), alsoNamed("d", "a"), alsoNamed("e", "a"))
	trees := NewTrees(func(context.Context, string, string) ([]Layer, error) { return []Layer{layer}, nil })
	tree := trees.Open(t.Context(), "image", "linux/amd64")
	defer tree.Close()
	send := func(has map[string]string) (map[string]string, []string, string) {
		var out bytes.Buffer
		files, omitted, err := tree.send(t.Context(), &out, has)
		require.NoError(t, err)
		return members(t, out.Bytes()), omitted, files
	}
	all := map[string]string{"./a": "one", "./" + long: "two", "./c": "three", "./d": "-> ./a", "./e": "-> ./a"}
	sent, omitted, files := send(nil)
	require.Equal(t, all, sent)
	require.Empty(t, omitted)
	want, err := flatten(t.Context(), io.Discard, []Layer{layer}, nil)
	require.NoError(t, err)
	require.Equal(t, want, files)

	sums := map[string]string{}
	for _, m := range tree.members {
		sums[m.name] = m.sum
	}
	sent, omitted, files = send(map[string]string{"./c": sums["./c"], "./" + long: sums["./"+long], "./b": sums["./a"]})
	require.Equal(t, map[string]string{"./a": "one", "./d": "-> ./a", "./e": "-> ./a"}, sent)
	require.Equal(t, []string{"./c", "./" + long}, omitted)
	require.Equal(t, want, files)

	sent, omitted, _ = send(map[string]string{"./a": sums["./a"], "./c": sums["./a"], "./d": sums["./d"]})
	require.Equal(t, map[string]string{"./a": "one", "./" + long: "two", "./c": "three", "./e": "-> ./a"}, sent, "a hard link needs its target")
	require.Equal(t, []string{"./d"}, omitted)

	sent, omitted, _ = send(sums)
	require.Empty(t, sent)
	require.Len(t, omitted, 5)
}

func TestATreeIsReadOnceForAllWhoWantItAtTheSameTime(t *testing.T) {
	read := 0
	trees := NewTrees(func(context.Context, string, string) ([]Layer, error) {
		read++
		return []Layer{layerOf(t, hosttest.File("a", "one"))}, nil
	})
	first, second := trees.Open(t.Context(), "image", "linux/amd64"), trees.Open(t.Context(), "image", "linux/amd64")
	for _, tree := range []*Tree{first, second} {
		var out bytes.Buffer
		_, _, err := tree.send(t.Context(), &out, nil)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"./a": "one"}, members(t, out.Bytes()))
		tree.Close()
	}
	require.Equal(t, 1, read)
	again := trees.Open(t.Context(), "image", "linux/amd64")
	_, err := again.Files(t.Context())
	require.NoError(t, err)
	again.Close()
	require.Equal(t, 2, read, "nothing is kept of what nobody wants any more")
}

func TestEverybodyIsToldWhyATreeCannotBeMade(t *testing.T) {
	away := errors.New("the registry is away")
	trees := NewTrees(func(context.Context, string, string) ([]Layer, error) { return nil, away })
	for range 2 {
		tree := trees.Open(t.Context(), "image", "linux/amd64")
		defer tree.Close()
		_, _, err := tree.send(t.Context(), io.Discard, map[string]string{"./a": "x"})
		require.ErrorIs(t, err, away)
		_, _, err = tree.send(t.Context(), io.Discard, nil)
		require.ErrorIs(t, err, away)
		_, err = tree.Files(t.Context())
		require.ErrorIs(t, err, away)
	}
}

func TestAWaitForATreeCanBeGivenUp(t *testing.T) {
	trees := NewTrees(func(ctx context.Context, _, _ string) ([]Layer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	tree := trees.Open(t.Context(), "image", "linux/amd64")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := tree.send(ctx, io.Discard, nil)
	require.ErrorIs(t, err, context.Canceled)
	tree.Close() // ends what is under way
}

func TestATreeIsMadeAgainWhereThisMachineHasNoSpace(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere")
	trees := NewTrees(func(context.Context, string, string) ([]Layer, error) {
		return []Layer{layerOf(t, hosttest.File("a", "one"))}, nil
	})
	tree := trees.Open(t.Context(), "image", "linux/amd64")
	defer tree.Close()
	_, _, err := tree.send(t.Context(), io.Discard, nil)
	require.True(t, isSpoolError(err), err)
	var out bytes.Buffer
	files, err := tree.direct(t.Context(), &out)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"./a": "one"}, members(t, out.Bytes()))
	same, err := tree.Files(t.Context())
	require.NoError(t, err)
	require.Equal(t, files, same)
}
