package content

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// send writes the tar to w, without the files that has names by their path with the
// same SHA-256: those are omitted, and are to be taken from there. files are the Files of
// the tree.
func (t *Tree) send(ctx context.Context, w io.Writer, has map[string]string) (files string, omitted []string, err error) {
	s := sending{tree: t, w: w, omitted: map[string]member{}}
	for i := 0; len(has) > 0; i++ {
		var next member
		err := t.await(ctx, func() bool {
			if i >= len(t.members) {
				return false
			}
			next = t.members[i]
			return true
		})
		if err != nil {
			return "", nil, err
		}
		if next.name == "" {
			break // there are no more
		}
		if err := s.member(ctx, next, has[next.name] == next.sum); err != nil {
			return "", nil, err
		}
	}
	if err := s.rest(ctx); err != nil {
		return "", nil, err
	}
	for name := range s.omitted {
		omitted = append(omitted, name)
	}
	slices.Sort(omitted)
	return t.files, omitted, nil
}

// sending is a tar on its way.
type sending struct {
	tree    *Tree
	w       io.Writer
	at      int64             // up to where it is sent
	omitted map[string]member // by name
}

// member sends what is before a member, and leaves the member out if the machine has it.
// The target of a hard link has to be there.
func (s *sending) member(ctx context.Context, m member, has bool) error {
	if has && (m.target == "" || s.omitted[m.target].name != "") {
		if err := s.upTo(ctx, m.from); err != nil {
			return err
		}
		s.at, s.omitted[m.name] = m.to, m
		return nil
	}
	target, missing := s.omitted[m.target]
	if !missing {
		return nil
	}
	if err := s.upTo(ctx, m.from); err != nil {
		return err
	}
	delete(s.omitted, m.target)
	s.at = target.from
	if err := s.upTo(ctx, target.to); err != nil {
		return err
	}
	s.at = m.from
	return nil
}

// upTo sends all that is before an offset of the tar.
func (s *sending) upTo(ctx context.Context, offset int64) error {
	if err := s.tree.await(ctx, func() bool { return s.tree.size >= offset }); err != nil {
		return err
	}
	return s.copy(offset)
}

// rest sends what is left of the tar, as it comes.
func (s *sending) rest(ctx context.Context) error {
	for {
		var size int64
		var done bool
		if err := s.tree.await(ctx, func() bool { size, done = s.tree.size, s.tree.done && s.tree.err == nil; return size > s.at || done }); err != nil {
			return err
		}
		if size == s.at {
			return nil
		}
		if err := s.copy(size); err != nil {
			return err
		}
	}
}

func (s *sending) copy(offset int64) error {
	_, err := io.Copy(s.w, io.NewSectionReader(s.tree.spool, s.at, offset-s.at))
	if err != nil {
		return fmt.Errorf("send the content: %w", err)
	}
	s.at = offset
	return nil
}
