package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// exitsOf are the exit codes of each command, beyond those that every command has.
func exitsOf() map[string][]int {
	refuses := []int{exitRefused}
	rolls := []int{exitRefused, exitFailed, exitRestored, exitDrift, exitLocked}
	return map[string][]int{
		"release": rolls, "rollback": rolls,
		"plan": {exitRefused, exitDrift}, "status": {exitRefused, exitDrift}, "verify": {exitRefused, exitDrift},
		"build": refuses, "render": refuses, "history": refuses, "init": refuses, "rbac": refuses, "doctor": refuses, "report": refuses,
		"withdraw": {exitRefused, exitLocked},
		"check":    nil, "explain": nil, "completion": nil,
	}
}

// exitHelp lists exit codes for the help of a command: all, or those that every
// command has and more.
func exitHelp(all bool, more []int) string {
	lines := []string{"Exit codes:"}
	for _, row := range exitMeanings() {
		if all || slices.Contains([]int{exitOK, exitUnexpected, exitUsage, exitInterrupted}, row.code) || slices.Contains(more, row.code) {
			lines = append(lines, fmt.Sprintf("%5d  %s", row.code, row.meaning))
		}
	}
	return strings.Join(lines, "\n")
}

// addExitCodes ends the help of every command with its exit codes.
func addExitCodes(root *cobra.Command) {
	root.Long += "\n\n" + exitHelp(true, nil)
	for _, c := range root.Commands() {
		if c.Long == "" {
			c.Long = c.Short + "."
		}
		c.Long += "\n\n" + exitHelp(false, exitsOf()[c.Name()])
	}
}
