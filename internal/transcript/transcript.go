// Package transcript compares what commands have printed with what a page of the
// documentation shows of an earlier run.
package transcript

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What differs from one run to the next.
var (
	spanMask   = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m\d+s)\b`)
	doneMask   = regexp.MustCompile(` \(SPAN\)`) // a step that took no time says none
	clockMask  = regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z|\b\d\d:\d\d:\d\d\b`)
	readMask   = regexp.MustCompile(`\(read what [^:]*:`) // of what is read at the same time, the first that fails is named
	podMask    = regexp.MustCompile(`-[bcdf-hj-np-tv-z0-9]{5,10}-[bcdf-hj-np-tv-z2-9]{5}\b`)
	hashMask   = regexp.MustCompile(`\b(g?)([0-9a-f]{7,64})\b`)
	triesMask  = regexp.MustCompile(`\btried \d+ times`)
	numberMask = regexp.MustCompile(`\b(PID|pid|port|node-?) ?\d+`)
	addrMask   = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(:\d+)?\b`)
	spacesMask = regexp.MustCompile(`  +`)
	// imagesMask is what is said of several images, which are built at the same time.
	imagesMask = regexp.MustCompile(`(?m)(^[✓→] ((build|built|push|pushed|sign|signed) )?(worker|gateway):? (new commit|sha256:).*\n){2,}`)
	// waitMask is a line that is printed only where something takes long.
	waitMask = regexp.MustCompile(`(?m)^… .*\n`)
)

// Masked is a text without what differs from one run to the next: times, addresses,
// names of pods. Hashes are numbered as they come, so that two that were equal, or
// one that was short for another, still are.
func Masked(text string) string {
	text = waitMask.ReplaceAllString(text, "")
	text = imagesMask.ReplaceAllStringFunc(text, func(lines string) string {
		return strings.Join(slices.Sorted(slices.Values(strings.SplitAfter(lines, "\n"))), "")
	})
	text = clockMask.ReplaceAllString(text, "CLOCK")
	text = readMask.ReplaceAllString(text, "(read:")
	text = spanMask.ReplaceAllString(text, "SPAN")
	text = doneMask.ReplaceAllString(text, "")
	text = podMask.ReplaceAllString(text, "-POD")
	text = numberMask.ReplaceAllString(text, "$1 N") // before hashes, which those of seven digits would be
	numbers := map[string]int{}
	text = hashMask.ReplaceAllStringFunc(text, func(hash string) string {
		short := hashMask.FindStringSubmatch(hash)[2][:7]
		if numbers[short] == 0 {
			numbers[short] = len(numbers) + 1
		}
		return fmt.Sprintf("HASH%d", numbers[short])
	})
	text = triesMask.ReplaceAllString(text, "tried N times")
	text = addrMask.ReplaceAllString(text, "ADDRESS")
	return spacesMask.ReplaceAllString(text, "  ")
}

// Missing are the lines of a shortened transcript that a full one does not have, in this
// order. A line may be cut short: it ends with … then. Lines that are … alone stand for
// what was left out, and exit codes in brackets for what a shell does not print.
func Missing(short, full string) []string {
	lines := strings.Split(unnumbered(full), "\n")
	var missing []string
	for _, line := range strings.Split(unnumbered(short), "\n") {
		if line == "" || line == "…" || strings.HasPrefix(line, "[exit code ") {
			continue
		}
		begin, cut := strings.CutSuffix(line, "…")
		at := slices.IndexFunc(lines, func(l string) bool { return l == line || cut && strings.HasPrefix(l, begin) })
		if at < 0 {
			missing = append(missing, line)
			continue
		}
		lines = lines[at+1:]
	}
	return missing
}

// unnumbered is Masked where lines are left out, so that hashes cannot be numbered.
func unnumbered(text string) string {
	return regexp.MustCompile(`HASH\d+`).ReplaceAllString(Masked(text), "HASH")
}
