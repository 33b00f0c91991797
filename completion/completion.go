// Package completion is what a shell suggests for a word that has been begun: roles,
// releases and environments. A suggestion is a word, a tab, and what it means.
package completion

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Roles are the roles of the configuration, in its order.
func Roles(cfg config.Config, begun string) []string {
	var out []string
	for _, r := range cfg.Roles {
		out = append(out, r.Name+"\t"+r.Image+", "+string(r.Target()))
	}
	return begunWith(out, begun)
}

// Environments are the environments of the configuration, sorted.
func Environments(cfg config.Config, begun string) []string {
	return begunWith(slices.Sorted(maps.Keys(cfg.Environments)), begun)
}

// Allowable are the codes that --allow takes.
func Allowable(begun string) []string {
	var out []string
	for _, c := range release.Codes() {
		if c.Allow {
			out = append(out, string(c.Code)+"\t"+c.Meaning)
		}
	}
	return begunWith(out, begun)
}

// Sequences are the records by sequence number, in their order, each with its SHA,
// version and outcome.
func Sequences(records []release.Record, begun string, now time.Time) []string {
	var out []string
	for _, r := range records {
		out = append(out, fmt.Sprintf("%d\t%s", r.Seq, meaning(r, now)))
	}
	return begunWith(out, begun)
}

// Good are the releases that can be rolled back to: by sequence number, or by SHA or
// version where that is what was begun.
func Good(records []release.Record, begun string, now time.Time) []string {
	var sequences, others []string
	for _, r := range records {
		if !r.Good() {
			continue
		}
		sequences = append(sequences, fmt.Sprintf("%d\t%s", r.Seq, meaning(r, now)))
		if r.SHA != "" {
			others = append(others, fmt.Sprintf("%s\t#%d %s", release.Short(r.SHA), r.Seq, meaning(r, now)))
		}
		if r.Version != "" {
			others = append(others, fmt.Sprintf("%s\t#%d %s", r.Version, r.Seq, meaning(r, now)))
		}
	}
	if begun == "" {
		return sequences
	}
	return begunWith(append(sequences, others...), begun)
}

// meaning is a record in a few words.
func meaning(r release.Record, now time.Time) string {
	words := []string{release.Short(r.SHA)}
	if r.Adopted {
		words = []string{release.BeforeFirst}
	}
	if r.Version != "" {
		words = append(words, r.Version)
	}
	if r.Kind != release.KindRelease {
		words = append(words, string(r.Kind))
	}
	return strings.Join(append(words, r.OutcomeText()), " ") + ", " + ago(now.Sub(r.StartedAt))
}

// ago is a span of time, coarsely.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	default:
		return fmt.Sprintf("%dd ago", d/(24*time.Hour))
	}
}

// begunWith are the suggestions that begin so, each once.
func begunWith(all []string, begun string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range all {
		word, _, _ := strings.Cut(s, "\t")
		if strings.HasPrefix(word, begun) && !seen[word] {
			seen[word] = true
			out = append(out, s)
		}
	}
	return out
}
