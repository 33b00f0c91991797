package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table is what a run found out.
type table struct {
	tools   []tool
	skipped []string
	real    bool
	rounds  int
	limit   time.Duration
	took    time.Duration
	load    string // of the machine, when the run began
	rows    []row
}

// row is one measure for every tool.
type row struct {
	section string
	name    string
	values  map[string]float64 // the figures by tool; a tool without one has a text or nothing
	texts   map[string]string
	unit    unit
	columns []tool // of the section, if they are not the table's

	causes map[string]float64 // seconds until a tool ended that had named the cause
}

// unit says how a figure is written.
type unit string

const (
	seconds  unit = "s"
	requests unit = "requests"
	kibibyte unit = "KiB"
)

func (u unit) text(v float64) string {
	switch {
	case u == requests:
		return fmt.Sprintf("%.0f", v)
	case u == kibibyte:
		return fmt.Sprintf("%.0f MB", v*1024/1e6)
	case math.Abs(v) < 0.1:
		return fmt.Sprintf("%.0f ms", v*1000)
	default:
		return fmt.Sprintf("%.2f s", v)
	}
}

// figures collects what was measured in the rounds, by tool.
type figures map[string][]float64

func (f figures) add(t tool, v float64) { f[t.name] = append(f[t.name], v) }

// between adds a span of time unless one of its ends was not seen.
func (f figures) between(t tool, from, to time.Time) {
	if !from.IsZero() && !to.IsZero() {
		f.add(t, to.Sub(from).Seconds())
	}
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// figures adds a row of medians.
func (t *table) figures(section, name string, u unit, f figures) {
	r := row{section: section, name: name, unit: u, values: map[string]float64{}}
	for tool, list := range f {
		r.values[tool] = median(list)
	}
	t.rows = append(t.rows, r)
}

// words adds a row of outcomes.
func (t *table) words(section, name string, texts map[string]string) {
	t.rows = append(t.rows, row{section: section, name: name, texts: texts})
}

// cell is what stands in the row for a tool.
func (r row) cell(tool string) string {
	if v, ok := r.values[tool]; ok {
		return r.unit.text(v)
	}
	if s := r.texts[tool]; s != "" {
		return s
	}
	return "–"
}

// ratio is shipit's figure beside the best of the peers, as written.
func (r row) ratio() string {
	if q, ok := r.quotient(); ok {
		return fmt.Sprintf("%.2f", q)
	}
	return ""
}

// quotient is shipit's figure divided by that of the best of the peers, if there is one.
func (r row) quotient() (q float64, ok bool) {
	own, ok := r.values["shipit"]
	best := math.Inf(1)
	for tool, v := range r.values {
		if tool != "shipit" {
			best = min(best, v)
		}
	}
	if !ok || math.IsInf(best, 1) || best <= 0 {
		return 0, false
	}
	return own / best, true
}

// markdown is the whole result.
func (t *table) markdown() string {
	var b strings.Builder
	pods := "simulated by kwok"
	if t.real {
		pods = "real: kubelet and containerd"
	}
	fmt.Fprintf(&b, "%s, %d cores, load %s when it began; pods are %s; median of %d; the run took %.0f s.\n",
		runtime.Version(), runtime.NumCPU(), t.load, pods, t.rounds, t.took.Seconds())
	for _, s := range t.skipped {
		fmt.Fprintf(&b, "\nLeft out: %s.\n", s)
	}
	section := ""
	for _, r := range t.rows {
		if r.section != section {
			section = r.section
			t.head(&b, r)
		}
		cells := []string{r.name}
		for _, tool := range t.columns(r) {
			cells = append(cells, r.cell(tool.name))
		}
		if t.hasRatio(section) {
			cells = append(cells, r.ratio())
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	if list := t.behind(); len(list) > 0 {
		fmt.Fprintf(&b, "\n### What a peer does better\n\n- %s\n", strings.Join(list, "\n- "))
	}
	return b.String()
}

// behind names the rows in which a peer's figure is better than shipit's, with both.
func (t *table) behind() []string {
	var out []string
	for _, r := range t.rows {
		ratio, ok := r.quotient()
		if !ok || ratio <= 1.02 { // the rest is chance
			continue
		}
		var best tool
		for _, c := range t.columns(r) {
			v, measured := r.values[c.name]
			if least, found := r.values[best.name]; measured && c.name != "shipit" && (!found || v < least) {
				best = c
			}
		}
		out = append(out, fmt.Sprintf("%s, %s: %s %s, shipit %s.", r.section, r.name, best.name, r.cell(best.name), r.cell("shipit")))
	}
	return out
}

// columns are the tools that a row compares.
func (t *table) columns(r row) []tool {
	if r.columns != nil {
		return r.columns
	}
	return t.tools
}

// among says which tools the rows of a section compare, if they are not the table's.
func (t *table) among(section string, columns []tool) {
	for i := range t.rows {
		if t.rows[i].section == section {
			t.rows[i].columns = columns
		}
	}
}

// hasRatio reports whether a section has figures to compare.
func (t *table) hasRatio(section string) bool {
	return slices.ContainsFunc(t.rows, func(r row) bool { return r.section == section && r.values != nil })
}

func (t *table) head(b *strings.Builder, r row) {
	cells, line := []string{""}, "|---|"
	for _, tool := range t.columns(r) {
		cells = append(cells, strings.TrimSpace(tool.name+" "+tool.version))
		line += "---|"
	}
	if t.hasRatio(r.section) {
		cells, line = append(cells, "shipit ÷ best peer"), line+"---|"
	}
	fmt.Fprintf(b, "\n### %s\n\n| %s |\n%s\n", r.section, strings.Join(cells, " | "), line)
}

const (
	beginMark = "<!-- begin: written by go run . in bench -->\n"
	endMark   = "<!-- end -->\n"
)

// writeTo puts the result between the marks of a document.
func (t *table) writeTo(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(text), beginMark)
	_, tail, ended := strings.Cut(rest, endMark)
	if !found || !ended {
		return fmt.Errorf("%s has no place for the table, between %q and %q", path, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return os.WriteFile(path, []byte(head+beginMark+"\n"+pictures(path)+t.markdown()+"\n"+endMark+tail), 0o644)
}

// loadNow is how busy the machine is, as the kernel says it.
func loadNow() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
