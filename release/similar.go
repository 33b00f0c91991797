package release

import "strings"

// Similar is the known name that takes the fewest edits to come from text, without
// regard to case; empty if the nearest takes more than two, or more than a third of
// the length of text.
func Similar(text string, known []string) string {
	nearest, fewest := "", max(3, len(text)/3+1)
	for _, name := range known {
		n := edits(strings.ToLower(text), strings.ToLower(name))
		if n < fewest || n == fewest && nearest != "" && name < nearest {
			nearest, fewest = name, n
		}
	}
	return nearest
}

// edits counts the letters to insert, delete or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
