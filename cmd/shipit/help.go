package main

import (
	"fmt"
	"slices"

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

// meaningsOf are what exit codes mean for one command, where that is narrower than the
// row of the table, which is for releases.
func meaningsOf() map[string]map[int]string {
	return map[string]map[int]string{
		"status": {exitOK: "in parity: what runs is what was recorded", exitFailed: "a role could not be repaired"},
		"plan":   {exitOK: "would not be refused", exitRefused: "would be refused, or the plan failed", exitDrift: "something would change; only with --exit-code"},
		"test":   {exitOK: "every test passed", exitRefused: "a test failed, or could not be run"},
		"check":  {exitOK: "no finding would stop a release", exitUsage: "findings, or usage or configuration"},
		"verify": {exitOK: "every check passed", exitRefused: "a check failed, or could not be made", exitDrift: "the only difference is in what runs"},
		"doctor": {exitOK: "nothing is missing", exitRefused: "something that a release needs is missing"},
	}
}

// addExitCodes ends the help of every command with its exit codes: those that every
// command has, and its own.
func addExitCodes(root *cobra.Command) {
	root.Long += "\n\nExit codes:"
	for _, row := range exitMeanings() {
		root.Long += fmt.Sprintf("\n%5d  %s", row.code, row.meaning)
	}
	exits, meanings := exitsOf(), meaningsOf()
	for _, c := range root.Commands() {
		if c.Long == "" {
			c.Long = c.Short + "."
		}
		c.Long += "\n\nExit codes:"
		for _, row := range exitMeanings() {
			if !slices.Contains([]int{exitOK, exitUnexpected, exitUsage, exitInterrupted}, row.code) && !slices.Contains(exits[c.Name()], row.code) {
				continue
			}
			c.Long += fmt.Sprintf("\n%5d  %s", row.code, row.of(c.Name(), meanings))
		}
	}
}

// of is what the code means for a command.
func (row exitMeaning) of(command string, meanings map[string]map[int]string) string {
	switch own, ok := meanings[command][row.code]; {
	case ok:
		return own
	case row.code == exitOK && !slices.Contains([]string{"release", "rollback", "promote"}, command):
		return "success"
	default:
		return row.meaning
	}
}
