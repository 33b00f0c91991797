package console

import (
	"cmp"
	"fmt"
	"io"

	"github.com/joelhooks/shipit/release"
)

// sources writes where what runs comes from: of each role the record that brought it,
// since when it runs, and the folder or the image.
func sources(w io.Writer, r release.Record, width int) {
	t := table{width: width}
	t.add("", "ROLE", "RELEASE", "SINCE", "SOURCE")
	for _, role := range r.Roles {
		s := role.Source
		if s == nil {
			continue
		}
		brought, since := "none", "-"
		if s.Release != nil {
			brought = fmt.Sprintf("#%d", *s.Release)
		}
		if !s.Since.IsZero() {
			since = s.Since.UTC().Format("2006-01-02 15:04Z")
		}
		t.add("", role.Name, brought, since, release.ShortDigest(cmp.Or(s.Folder, s.Image)))
	}
	if len(t.rows) > 1 {
		t.write(w)
	}
}
