package main

import (
	"strings"

	"github.com/joelhooks/shipit/release"
)

// allowed is the value of --allow: codes of findings, repeated or joined by commas.
type allowed []release.Code

func (a *allowed) Set(text string) error {
	for _, name := range strings.Split(text, ",") {
		code, err := release.ParseAllowed(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		*a = append(*a, code)
	}
	return nil
}

func (a *allowed) String() string {
	names := make([]string, 0, len(*a))
	for _, code := range *a {
		names = append(names, string(code))
	}
	return strings.Join(names, ",")
}

func (a *allowed) Type() string { return "CODE" }
