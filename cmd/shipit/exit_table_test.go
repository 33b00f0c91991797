package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocumentsListTheExitCodes(t *testing.T) {
	row := regexp.MustCompile(`^\| (\d+) \| ([^|]+) \|`)
	for _, file := range []string{"README.md", "docs/ci.md"} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile("../../" + file)
			require.NoError(t, err)
			_, table, found := strings.Cut(string(text), "| exit code | means |")
			require.True(t, found, "the table of exit codes")
			table, _, _ = strings.Cut(table, "\n\n")
			var listed []exitMeaning
			for _, line := range strings.Split(table, "\n") {
				if m := row.FindStringSubmatch(line); m != nil {
					code, err := strconv.Atoi(m[1])
					require.NoError(t, err)
					listed = append(listed, exitMeaning{code, m[2]})
				}
			}
			require.Equal(t, exitMeanings(), listed)
		})
	}
}
