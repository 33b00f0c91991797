package console

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table writes rows in columns that fit a width, 0 if it is not known: of its columns,
// those at droppable give way, the first one first.
type table struct {
	width     int
	droppable []int
	rows      [][]string // the first one is the heading
	below     []string   // of each row, what stands in a line of its own below it
}

func (t *table) add(below string, cells ...string) {
	t.rows, t.below = append(t.rows, cells), append(t.below, below)
}

func (t *table) write(w io.Writer) {
	gone := map[int]bool{}
	for len(t.droppable) > 0 && t.size(gone) > cmp.Or(t.width, defaultWidth) {
		gone[t.droppable[0]] = true
		t.droppable = t.droppable[1:]
	}
	for i := range t.rows[0] {
		if t.empty(i) {
			gone[i] = true
		}
	}
	widths := t.widths()
	for n, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if !gone[i] {
				fmt.Fprintf(&line, "  %s%s", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			}
		}
		fmt.Fprintln(w, clip(strings.TrimRight(line.String(), " "), t.width))
		if t.below[n] != "" {
			fmt.Fprintln(w, clip("      "+t.below[n], t.width))
		}
	}
}

// widths are those of the columns.
func (t *table) widths() []int {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// size is the width of the table without some columns.
func (t *table) size(without map[int]bool) int {
	size := 0
	for i, width := range t.widths() {
		if !without[i] && !t.empty(i) {
			size += 2 + width
		}
	}
	return size
}

// empty reports whether a column has nothing below its heading.
func (t *table) empty(column int) bool {
	return !slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[column] != "" })
}

// clip shortens a line to a width; 0 does not.
func clip(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
