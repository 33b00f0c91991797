package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/joelhooks/shipit/console"
)

// width is how many columns the result has; 0 if nobody knows.
func (g *globals) width() int { return console.Width(g.term.out) }

// result writes the one document of a command to stdout: v as JSON, or what text
// writes. A failed write, as on a full disk, is an error, because scripts read it.
func (g *globals) result(v any, text func(io.Writer)) error {
	var doc bytes.Buffer
	if g.output == "json" {
		enc := json.NewEncoder(&doc)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode the result: %w", err)
		}
	} else {
		text(&doc)
	}
	if _, err := g.term.out.Write(doc.Bytes()); err != nil {
		return &printedError{fmt.Errorf("write the result: %w", err)}
	}
	return nil
}
