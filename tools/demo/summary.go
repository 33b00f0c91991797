package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// summary is a line for each step that was played.
func (p *play) summary() {
	if len(p.ended) == 0 {
		return
	}
	fmt.Fprintln(p.out)
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tCOMMAND\tEXIT CODE\tAFTER IT\tSECONDS")
	total, faults := 0.0, 0
	for i, e := range p.ended {
		mark := ""
		if e.fault != nil {
			mark, faults = "  ✗ not as it must be", faults+1
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%.1f%s\n", i+1, strings.ReplaceAll(e.line, p.report(), filepath.Base(p.report())), e.code, e.parity, e.took.Seconds(), mark)
		total += e.took.Seconds()
	}
	_ = w.Flush()
	if faults == 0 {
		fmt.Fprintf(p.out, "\nAll %d steps ended as they must: %.0fs to build and start what they need, %.0fs for the commands.\n", len(p.ended), p.up.Seconds(), total)
	}
	fmt.Fprintln(p.out, "A role counts as up 1s after it is ready here (stable: 1s; 3s by default).")
	if p.noHost != "" {
		fmt.Fprintln(p.out, "The roles host and gateway were skipped: "+p.noHost+".")
	}
}
