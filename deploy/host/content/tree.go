package content

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// Trees are the trees of images that are on their way to machines. Each is read from the
// registry once for all machines that want it at the same time. It is safe for concurrent
// use.
type Trees struct {
	layers func(ctx context.Context, ref, platform string) ([]Layer, error)
	mu     sync.Mutex
	open   map[string]*Tree
}

// NewTrees are trees of images whose layers, lowest first, are given by a function.
func NewTrees(layers func(ctx context.Context, ref, platform string) ([]Layer, error)) *Trees {
	return &Trees{layers: layers, open: map[string]*Tree{}}
}

// Open gives the tree of the image ref for a platform, which is made from now on. The
// caller closes it.
func (t *Trees) Open(ctx context.Context, ref, platform string) *Tree {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := ref + " " + platform
	tree := t.open[key]
	if tree == nil {
		// It is made for whoever comes, until nobody wants it any more.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		tree = &Tree{layers: func(ctx context.Context) ([]Layer, error) { return t.layers(ctx, ref, platform) }, cancel: cancel, made: make(chan struct{})}
		tree.forget = func() { delete(t.open, key) }
		tree.trees, tree.grown = t, sync.NewCond(&tree.mu)
		t.open[key] = tree
		go tree.make(ctx)
	}
	tree.users++
	return tree
}

// Tree is what the layers of an image make together, as one tar in a temporary file of
// this machine, which is read while it is written.
type Tree struct {
	layers func(context.Context) ([]Layer, error)
	trees  *Trees
	users  int    // guarded by trees.mu
	forget func() // called with trees.mu held
	cancel func()
	made   chan struct{} // closed when all is there, or an error

	mu      sync.Mutex
	grown   *sync.Cond
	spool   *os.File
	size    int64 // of what is in the file
	members []member
	files   string
	err     error
	done    bool
}

// spoolError says that the temporary file cannot be written: this machine's disk may be
// full while those of others are not.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return "keep the content of the image for now: " + e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// Close gives the tree up. The last who does ends what is under way.
func (t *Tree) Close() {
	t.trees.mu.Lock()
	t.users--
	last := t.users == 0
	if last {
		t.forget()
	}
	t.trees.mu.Unlock()
	if last {
		t.cancel()
		<-t.made
		if t.spool != nil {
			_ = t.spool.Close() // it has no name any more
		}
	}
}

// make writes the tar.
func (t *Tree) make(ctx context.Context) {
	defer close(t.made)
	files, err := t.write(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files, t.err, t.done = files, err, true
	t.grown.Broadcast()
}

func (t *Tree) write(ctx context.Context) (files string, err error) {
	spool, err := os.CreateTemp("", "shipit-image-")
	if err != nil {
		return "", &spoolError{err}
	}
	if err := os.Remove(spool.Name()); err != nil {
		_ = spool.Close()
		return "", &spoolError{err}
	}
	t.mu.Lock()
	t.spool = spool
	t.mu.Unlock()
	layers, err := t.layers(ctx)
	if err != nil {
		return "", err
	}
	out := bufio.NewWriterSize(writerFunc(t.append), 256<<10)
	if files, err = flatten(ctx, out, layers, t.add); err != nil {
		return "", err
	}
	return files, out.Flush()
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

func (t *Tree) append(p []byte) (int, error) {
	n, err := t.spool.Write(p)
	if err != nil {
		return n, &spoolError{err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size += int64(n)
	t.grown.Broadcast()
	return n, nil
}

func (t *Tree) add(m member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = append(t.members, m)
	t.grown.Broadcast()
}

// Files are the Files of the tree, once it is all there.
func (t *Tree) Files(ctx context.Context) (string, error) {
	err := t.await(ctx, func() bool { return false })
	if isSpoolError(err) {
		return t.direct(ctx, io.Discard)
	}
	return t.files, err
}

// direct writes the tar without the temporary file.
func (t *Tree) direct(ctx context.Context, w io.Writer) (files string, err error) {
	layers, err := t.layers(ctx)
	if err != nil {
		return "", err
	}
	return flatten(ctx, w, layers, nil)
}

func isSpoolError(err error) bool {
	var spool *spoolError
	return errors.As(err, &spool)
}

// await waits until there is what a caller needs, which is asked with the lock held, or the
// tree is done. Its error is that of making the tree.
func (t *Tree) await(ctx context.Context, there func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.grown.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.done && !there() && ctx.Err() == nil {
		t.grown.Wait()
	}
	switch {
	case there():
		return nil
	case t.err != nil:
		return t.err
	}
	return context.Cause(ctx)
}
