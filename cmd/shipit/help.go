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
		"release": rolls, "rollback": rolls, "promote": rolls,
		"plan": {exitRefused, exitDrift}, "status": {exitRefused, exitFailed, exitDrift, exitLocked}, "verify": {exitRefused, exitDrift},
		"build": refuses, "test": refuses, "render": refuses, "history": refuses, "init": refuses, "rbac": refuses, "doctor": refuses, "report": refuses,
		"withdraw": {exitRefused, exitLocked},
		"check":    nil, "explain": nil, "completion": nil,
	}
}

// meaningFor is what an exit code means for one command, where that is narrower than
// the row of the table.
func meaningFor(command string, row exitMeaning) string {
	if meaning, own := map[string]map[int]string{
		"release":  {exitOK: row.meaning},
		"rollback": {exitOK: row.meaning},
		"promote":  {exitOK: row.meaning},
		"status":   {exitOK: "in parity: what runs is what was recorded", exitFailed: "a role could not be repaired"},
		"plan":     {exitOK: "would not be refused", exitRefused: "would be refused, or the plan failed", exitDrift: "something would change; only with --exit-code"},
		"test":     {exitOK: "every test passed", exitRefused: "a test failed, or could not be run"},
		"check":    {exitOK: "no finding would stop a release", exitUsage: "findings, or usage or configuration"},
		"verify":   {exitOK: "every check passed", exitRefused: "a check failed, or could not be made", exitDrift: "the only difference is in what runs"},
		"doctor":   {exitOK: "nothing is missing", exitRefused: "something that a release needs is missing"},
	}[command][row.code]; own {
		return meaning
	}
	if row.code == exitOK {
		return "success"
	}
	return row.meaning
}

// exitHelp lists the exit codes of a command for its help: those that every command
// has, and more.
func exitHelp(command string, more []int) string {
	lines := []string{"Exit codes:"}
	for _, row := range exitMeanings() {
		if slices.Contains([]int{exitOK, exitUnexpected, exitUsage, exitInterrupted}, row.code) || slices.Contains(more, row.code) {
			lines = append(lines, fmt.Sprintf("%5d  %s", row.code, meaningFor(command, row)))
		}
	}
	return strings.Join(lines, "\n")
}

// addExitCodes ends the help of every command with its exit codes.
func addExitCodes(root *cobra.Command) {
	root.Long += "\n\nExit codes:"
	for _, row := range exitMeanings() {
		root.Long += fmt.Sprintf("\n%5d  %s", row.code, row.meaning)
	}
	for _, c := range root.Commands() {
		if c.Long == "" {
			c.Long = c.Short + "."
		}
		c.Long += "\n\n" + exitHelp(c.Name(), exitsOf()[c.Name()])
	}
}
