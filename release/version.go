package release

import (
	"fmt"

	"github.com/Masterminds/semver/v3"

	"github.com/joelhooks/shipit/internal/pattern"
)

// Constraint is a range of versions, such as ">=1.4". It takes a pre-release only if
// it names one, as ">=1.4-0" does. The zero value takes every version.
type Constraint struct {
	text   string
	checks *semver.Constraints
}

// ParseConstraint reads a constraint; an *UnclearError says that it is none.
func ParseConstraint(text string) (Constraint, error) {
	checks, err := semver.NewConstraint(text)
	if err != nil {
		return Constraint{}, &UnclearError{Asked: text}
	}
	return Constraint{text, checks}, nil
}

// String is the constraint as it was written.
func (c Constraint) String() string { return c.text }

// Findings are why the version of a commit is outside of the constraint; none if it is
// not.
func (c Constraint) Findings(version string) []Finding {
	if c.checks == nil {
		return nil
	}
	found := Finding{Code: CodeVersionOutside, Severity: Refuses, Message: fmt.Sprintf("the version is %s, and %s is required", version, c.text),
		Hint: "release a commit with such a version; a tag vX.Y.Z on the commit is its version"}
	v, err := semver.NewVersion(version)
	switch {
	case err != nil:
		found.Message = fmt.Sprintf("the version %q is no semantic version, and %s is required", version, c.text)
	case c.checks.Check(v):
		return nil
	case v.Prerelease() != "":
		found.Message = fmt.Sprintf("the version is %s, a pre-release, and %s is required", version, c.text)
		found.Hint = "tag the commit vX.Y.Z; a constraint takes pre-releases if it names one, as '>=1.4-0' does"
	}
	return []Finding{found}
}

// between matches the pre-release of a commit between two tags.
var between = pattern.Lazy(`^dev\.[0-9]+\.g[0-9a-f]+$`)

// lower reports whether a is a lower version than b. Commits between the same two tags
// have no order: nobody gave them a version, and on branches their numbers say nothing.
// What is no version is not lower.
func lower(a, b string) bool {
	x, err := semver.NewVersion(a)
	if err != nil {
		return false
	}
	y, err := semver.NewVersion(b)
	return err == nil && ordered(*x).LessThan(ordered(*y))
}

// ordered is the part of a version that has an order.
func ordered(v semver.Version) *semver.Version {
	if between().MatchString(v.Prerelease()) {
		if short, err := v.SetPrerelease("dev"); err == nil {
			return &short
		}
	}
	return &v
}

// isPrerelease reports whether a version is one, or none at all.
func isPrerelease(version string) bool {
	v, err := semver.NewVersion(version)
	return err != nil || v.Prerelease() != ""
}

// Downgrade finds that a version is lower than that of the newest good record.
func Downgrade(version string, newest Record) []Finding {
	if !lower(version, newest.Version) {
		return nil
	}
	hint := "release a higher version, or go back with shipit rollback; --allow Downgrade releases it all the same"
	if unordered().MatchString(version) {
		hint = "its place is not known: the clone is shallow, and git fetch --unshallow --tags brings the history; --allow Downgrade releases it all the same"
	}
	return []Finding{{Code: CodeDowngrade, Severity: Refuses,
		Message: fmt.Sprintf("the version %s is lower than %s, which %s has", version, newest.Version, newest.ID()), Hint: hint}}
}

// unordered matches the version of a commit whose history a shallow clone does not have.
var unordered = pattern.Lazy(`^0\.0\.0-dev\.0\.g`)
