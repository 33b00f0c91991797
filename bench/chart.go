package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// palette is the colours of a picture, for pages of one ground.
type palette struct {
	name         string // ends the file's name
	text, faint  string
	own          string   // of shipit
	peers        []string // of the others, in the order of the columns
	never, ghost string   // of what did not end by itself
}

func palettes() []palette {
	return []palette{
		{"light", "#1f2328", "#59636e", "#0969da", []string{"#8c959f", "#a7b0b9", "#c0c7ce", "#d1d7dd", "#dfe3e8"}, "#cf222e", "#ffebe9"},
		{"dark", "#f0f6fc", "#9198a1", "#4493f8", []string{"#7d8590", "#656c76", "#545b64", "#444b53", "#373d44"}, "#f85149", "#3d1d20"},
	}
}

// bar is one tool's time in a group; one that did not end by itself is drawn as such.
type bar struct {
	tool  string
	value float64
	text  string
	never bool
	place int // of the tool among the columns
}

// group is the bars of one measure: the longest fills the width.
type group struct {
	title string
	bars  []bar
}

// details are rows of times that are parts of another row.
func details() []string {
	return []string{"without the pods' own time", "start to first change in the cluster", "last pod ready to exit", "Deployment complete to exit"}
}

// wallTimes are the rows of whole times.
func (t *table) wallTimes() []group {
	var out []group
	for _, r := range t.rows {
		if r.unit != seconds || len(r.values) < 2 || slices.Contains(details(), r.name) {
			continue
		}
		g := group{title: r.name}
		if section, _, several := strings.Cut(r.section, ":"); several && slices.Contains([]string{liveSection, layersSection, hostsSection}, section) {
			g.title = r.section + ": " + r.name
		}
		for i, c := range t.columns(r) {
			if v, ok := r.values[c.name]; ok {
				g.bars = append(g.bars, bar{c.name, v, r.unit.text(v), false, i})
			}
		}
		out = append(out, g)
	}
	return out
}

// causes are the rows of times until a tool ended and had named the cause.
func (t *table) causes() []group {
	var out []group
	for _, r := range t.rows {
		if len(r.causes) == 0 {
			continue
		}
		g := group{title: r.name}
		for i, c := range t.columns(r) {
			v, ok := r.causes[c.name]
			switch {
			case ok:
				g.bars = append(g.bars, bar{c.name, v, seconds.text(v), false, i})
			case r.texts[c.name] != "":
				limit := t.limit.Seconds()
				g.bars = append(g.bars, bar{c.name, limit, fmt.Sprintf("not in %.0f s", limit), true, i})
			}
		}
		out = append(out, g)
	}
	return out
}

const (
	chartWidth = 925
	chartLeft  = 275 // where bars begin; the names of tools stand before
	chartBars  = 500 // the longest
	barHeight  = 13
)

// chart is the picture of the wall times and of the times until a cause is named, as SVG.
func (t *table) chart(p palette) []byte {
	var body bytes.Buffer
	y := 30
	text := func(x, y int, fill, more, s string) {
		fmt.Fprintf(&body, `<text x="%d" y="%d" fill="%s"%s>%s</text>`+"\n", x, y, fill, more, escaped(s))
	}
	for _, part := range []struct {
		title  string
		groups []group
	}{{"How long it takes", t.wallTimes()}, {"How long until it ends and has named the cause", t.causes()}} {
		if len(part.groups) == 0 {
			continue
		}
		text(16, y, p.text, ` font-size="17" font-weight="600"`, part.title)
		y += 26
		for _, g := range part.groups {
			text(16, y, p.text, ` font-weight="600"`, g.title)
			y += 7
			for _, b := range g.bars {
				width := max(1, int(chartBars*b.value/g.longest()))
				fill, more := p.colour(b), ""
				if b.never {
					fill, more = p.ghost, fmt.Sprintf(` stroke="%s" stroke-dasharray="3 3"`, p.never)
				}
				fmt.Fprintf(&body, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s"%s/>`+"\n", chartLeft, y, width, barHeight, fill, more)
				text(chartLeft-8, y+barHeight-3, p.faint, ` text-anchor="end"`, b.tool)
				text(chartLeft+width+6, y+barHeight-3, p.text, "", b.text)
				y += barHeight + 4
			}
			y += 17
		}
		y += 14
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, sans-serif" font-size="12">
<title>shipit beside its peers: the longest bar of each group fills the width</title>
%s</svg>
`, chartWidth, y, chartWidth, y, body.Bytes())
}

func (g group) longest() float64 {
	longest := 0.0
	for _, b := range g.bars {
		longest = max(longest, b.value)
	}
	return max(longest, 1e-9)
}

func (p palette) colour(b bar) string {
	if b.tool == "shipit" {
		return p.own
	}
	return p.peers[(b.place+len(p.peers)-1)%len(p.peers)]
}

func escaped(s string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(s)) // a Buffer takes all
	return out.String()
}

// pictures shows in a document the pictures that draw writes.
func pictures(doc string) string {
	name := strings.TrimSuffix(filepath.Base(doc), ".md")
	return fmt.Sprintf(`<picture>
  <source media="(prefers-color-scheme: dark)" srcset="%[1]s-dark.svg">
  <img alt="bars of how long each tool takes, and of how long it takes to name a cause; the figures stand in the tables below" src="%[1]s-light.svg">
</picture>

`, name)
}

// draw writes the pictures beside a document: its name without .md, a dash and the ground.
func (t *table) draw(doc string) error {
	for _, p := range palettes() {
		if err := os.WriteFile(strings.TrimSuffix(doc, ".md")+"-"+p.name+".svg", t.chart(p), 0o644); err != nil {
			return err
		}
	}
	return nil
}
