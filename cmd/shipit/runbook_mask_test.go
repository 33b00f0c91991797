package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What differs from one run to the next.
var (
	spanMask   = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m\d+s)\b`)
	doneMask   = regexp.MustCompile(` \(SPAN\)`) // a step that took no time says none
	clockMask  = regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z|\b\d\d:\d\d:\d\d\b`)
	readMask   = regexp.MustCompile(`\(read what [^:]*:`) // of what is read at the same time, the first that fails is named
	podMask    = regexp.MustCompile(`-[bcdf-hj-np-tv-z0-9]{8,10}-[bcdf-hj-np-tv-z2-9]{5}\b`)
	hashMask   = regexp.MustCompile(`\b(g?)([0-9a-f]{7,64})\b`)
	numberMask = regexp.MustCompile(`\b(PID|pid|port|node-?) ?\d+`)
	addrMask   = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(:\d+)?\b`)
	spacesMask = regexp.MustCompile(`  +`)
	// imagesMask is what is said of several images, which are built at the same time.
	imagesMask = regexp.MustCompile(`(?m)(^[✓→] ((build|built|push|pushed|sign|signed) )?(worker|gateway):? (new commit|sha256:).*\n){2,}`)
	// waitMask is a line that is printed only where something takes long.
	waitMask = regexp.MustCompile(`(?m)^… .*\n`)
)

// masked is a text without what differs from one run to the next: times, addresses,
// names of pods. Hashes are numbered as they come, so that two that were equal, or
// one that was short for another, still are.
func masked(text string) string {
	text = waitMask.ReplaceAllString(text, "")
	text = imagesMask.ReplaceAllStringFunc(text, func(lines string) string {
		return strings.Join(slices.Sorted(slices.Values(strings.SplitAfter(lines, "\n"))), "")
	})
	text = clockMask.ReplaceAllString(text, "CLOCK")
	text = readMask.ReplaceAllString(text, "(read:")
	text = spanMask.ReplaceAllString(text, "SPAN")
	text = doneMask.ReplaceAllString(text, "")
	text = podMask.ReplaceAllString(text, "-POD")
	numbers := map[string]int{}
	text = hashMask.ReplaceAllStringFunc(text, func(hash string) string {
		short := hashMask.FindStringSubmatch(hash)[2][:7]
		if numbers[short] == 0 {
			numbers[short] = len(numbers) + 1
		}
		return fmt.Sprintf("HASH%d", numbers[short])
	})
	text = numberMask.ReplaceAllString(text, "$1 N")
	text = addrMask.ReplaceAllString(text, "ADDRESS")
	return spacesMask.ReplaceAllString(text, "  ")
}

func TestMaskedHidesWhatDiffersBetweenRunsAndNothingElse(t *testing.T) {
	one := "✓ cluster ready 1/1 (771ms)\n#4 fe61c3f 1.0.0 runs sha256:dad17498da8bbb0b\n  cluster  dad17498da8b  2026-11-28 14:12Z\nPod busrig/busrig-cluster-59494ccb5f-9q2ms on 127.0.0.1:39505\n"
	two := "✓ cluster ready 1/1\n#4 183dd88 1.0.0 runs sha256:a9bb2fe25ed012345\n  cluster    a9bb2fe25ed0  2027-01-02 03:04Z\nPod busrig/busrig-cluster-6c9f8d7b5-xk2lm on 10.0.0.1:80\n"
	require.Equal(t, masked(one), masked(two))
	require.NotEqual(t, masked("fe61c3f then fe61c3f"), masked("fe61c3f then 183dd88"), "another commit is another one")
	require.NotEqual(t, masked("#4 settled"), masked("#5 settled"))
	require.NotEqual(t, masked("[exit code 5]"), masked("[exit code 4]"))
	require.NotEqual(t, masked("ready 1/1"), masked("ready 0/1"))
}
