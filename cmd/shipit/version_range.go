package main

import (
	"github.com/spf13/pflag"

	"github.com/joelhooks/shipit/release"
)

// versionRange is the value of --require-version.
type versionRange struct{ release.Constraint }

func (v *versionRange) Set(text string) (err error) {
	v.Constraint, err = release.ParseConstraint(text)
	return err
}

func (v *versionRange) Type() string { return "RANGE" }

// addRequireVersion adds the flag --require-version.
func addRequireVersion(flags *pflag.FlagSet, v *versionRange) {
	flags.Var(v, "require-version", "refuse a commit whose version is outside of `RANGE`, such as '>=1.4'")
}
