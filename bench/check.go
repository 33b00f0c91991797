package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// ratios are what a whole run found, for later runs to be held against: shipit's figures
// beside those of the best peer. Seconds would say more of the machine than of shipit.
type ratios struct {
	Skipped  []string                      `json:"skipped"`  // peers that were left out, by name
	Sections map[string]map[string]float64 `json:"sections"` // section → row → ratio
}

const (
	// tolerance is how much a ratio may get worse.
	tolerance = 1.2
	// tremor is a difference of seconds that is never a regression: the scheduler's.
	tremor = 0.02
)

// ratios are those of the table's rows.
func (t *table) ratios() ratios {
	found := ratios{Skipped: t.skippedNames(), Sections: map[string]map[string]float64{}}
	for _, r := range t.rows {
		ratio, ok := r.quotient()
		if !ok {
			continue
		}
		if found.Sections[r.section] == nil {
			found.Sections[r.section] = map[string]float64{}
		}
		found.Sections[r.section][r.name] = ratio
	}
	return found
}

// skippedNames are the peers that were left out.
func (t *table) skippedNames() []string {
	names := []string{}
	for _, s := range t.skipped {
		name, _, _ := strings.Cut(s, ":")
		names = append(names, name)
	}
	return names
}

// regressions says of each row that is more than a fifth worse than recorded by how much,
// and what is recorded and cannot be compared. Sections that were not run are left out.
func (t *table) regressions(recorded ratios) []string {
	found := t.ratios()
	var out []string
	for _, r := range t.rows {
		was, known := recorded.Sections[r.section][r.name]
		is, ok := found.Sections[r.section][r.name]
		if !known || !ok || is <= was*tolerance {
			continue
		}
		best := r.values["shipit"] / is
		if r.unit == seconds && (is-was)*best <= tremor {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s: %.2f of the best peer's, recorded %.2f: %.0f %% worse", r.section, r.name, is, was, 100*(is/was-1)))
	}
	return append(out, t.missing(recorded, found)...)
}

// missing is what is recorded of a section that was run, and was not found this time.
func (t *table) missing(recorded, found ratios) []string {
	var out []string
	for _, section := range slices.Sorted(maps.Keys(recorded.Sections)) {
		if !slices.ContainsFunc(t.rows, func(r row) bool { return r.section == section }) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(recorded.Sections[section])) {
			if _, ok := found.Sections[section][name]; !ok {
				out = append(out, fmt.Sprintf("%s: %s: is recorded and was not measured", section, name))
			}
		}
	}
	for i, name := range t.skippedNames() {
		if !slices.Contains(recorded.Skipped, name) {
			out = append(out, t.skipped[i]+": the recorded ratios are against it too")
		}
	}
	return out
}

// check holds the run against the ratios in a file.
func (t *table) check(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var recorded ratios
	if err := json.Unmarshal(text, &recorded); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if worse := t.regressions(recorded); len(worse) > 0 {
		return fmt.Errorf("worse than %s:\n  %s", path, strings.Join(worse, "\n  "))
	}
	return nil
}

// record writes the run's ratios to a file.
func (t *table) record(path string) error {
	found := t.ratios()
	for _, rows := range found.Sections {
		for name, v := range rows {
			rows[name] = float64(int(v*1000+0.5)) / 1000
		}
	}
	text, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
