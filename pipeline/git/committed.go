package git

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Committed is when the commit was made.
func (s Source) Committed(ctx context.Context) (time.Time, error) {
	var text []byte
	object := File{Path: "commit " + s.SHA, ID: s.SHA, kind: "commit"}
	err := s.objects.read(ctx, []File{object}, func(_ File, _ int64, r io.Reader) (err error) {
		text, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	// Of the header "committer NAME <MAIL> SECONDS ZONE" the seconds are the last but one.
	_, after, _ := strings.Cut(string(text), "\ncommitter ")
	line, _, _ := strings.Cut(after, "\n")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return time.Time{}, fmt.Errorf("commit %s does not say when it was made", s.SHA)
	}
	seconds, err := strconv.ParseInt(fields[len(fields)-2], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time of commit %s: %w", s.SHA, err)
	}
	return time.Unix(seconds, 0), nil
}
