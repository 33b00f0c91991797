package release

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// NoneError says that no record matches what was asked for.
type NoneError struct{ Asked string }

func (e *NoneError) Error() string {
	if e.Asked == "" {
		return "no earlier good release to roll back to"
	}
	return fmt.Sprintf("no good release matches %q", e.Asked)
}

// UnclearError says that what was asked for cannot be the name of a release.
type UnclearError struct{ Asked string }

func (e *UnclearError) Error() string {
	return fmt.Sprintf("%q is no sequence number, SHA, version or constraint", e.Asked)
}

// Choose picks the record that a rollback goes to. to is "" for the good release
// before the one that runs now, or a sequence number, a SHA or a prefix of
// one of at least 4 digits, a version, or a constraint such as "~1.4": of what fits one,
// a release goes before every pre-release. Records may come in any order. A *NoneError
// says that none matches, an *UnclearError that none ever could.
func Choose(records []Record, to string) (Record, error) {
	newest := append([]Record(nil), records...)
	sort.Slice(newest, func(i, j int) bool { return newest[i].Seq > newest[j].Seq })
	if to == "" {
		return earlier(newest)
	}
	match, ranged, err := matcher(to)
	if err != nil {
		return Record{}, err
	}
	var fits []Record // pre-releases, which a release goes before
	for _, r := range newest {
		switch {
		case !match(r) || !r.Good():
		case ranged && isPrerelease(r.Version):
			fits = append(fits, r)
		default:
			return r, nil
		}
	}
	if len(fits) > 0 {
		return fits[0], nil
	}
	return Record{}, &NoneError{Asked: to}
}

// Final reports whether no record that is older than r would be chosen in its place for
// to. A pre-release gives way to an older release where both fit a constraint.
func Final(r Record, to string) bool {
	if to == "" {
		return true
	}
	_, ranged, err := matcher(to)
	return err != nil || !ranged || !isPrerelease(r.Version)
}

// earlier finds the release to go back to from what runs now. If the newest
// record ended with a good release running, that is the newest good record older
// than its content, of another commit: going back to the same commit would undo
// nothing. Otherwise something else may run, and the newest good record is back.
func earlier(newest []Record) (Record, error) {
	current, ok := Current(newest)
	if !ok {
		return Record{}, &NoneError{}
	}
	last := newest[0]
	restored := last.Outcome == Restored && (last.Restored == 0 || last.Restored == current.Seq)
	if !last.Good() && !restored {
		return back(last, newest, current), nil
	}
	for _, r := range newest {
		if r.Good() && r.Kind != KindRollback && r.Seq < current.Content() && r.SHA != current.SHA {
			return r, nil
		}
	}
	return Record{}, &NoneError{}
}

// back is the good release under one that is pending, failed, or good no more. A
// rollback that was killed is begun again: its caller wanted away from that one.
func back(last Record, newest []Record, current Record) Record {
	for _, r := range newest {
		if last.Outcome == Pending && last.Kind == KindRollback && r.Seq == last.Content() && r.Good() {
			return r
		}
	}
	return current
}

// Current is the newest good record: what should be running. Records come
// newest first.
func Current(newest []Record) (Record, bool) {
	for _, r := range newest {
		if r.Good() {
			return r, true
		}
	}
	return Record{}, false
}

// ParseSeq reads the sequence number that to names a record by; false if it names
// one by something else. Seven digits and more are those of a SHA.
func ParseSeq(to string) (int64, bool) {
	seq, err := strconv.ParseInt(strings.TrimPrefix(to, "#"), 10, 64)
	return seq, err == nil && len(to) < 7
}

// matcher finds the records that to names; ranged if that is no single release, but a
// range of versions.
func matcher(to string) (match func(Record) bool, ranged bool, err error) {
	if seq, ok := ParseSeq(to); ok {
		return func(r Record) bool { return r.Seq == seq }, false, nil
	}
	if isHex(to) && len(to) >= 4 {
		return func(r Record) bool { return strings.HasPrefix(r.SHA, strings.ToLower(to)) }, false, nil
	}
	if v, err := semver.StrictNewVersion(strings.TrimPrefix(to, "v")); err == nil {
		return func(r Record) bool { return r.Version == v.String() }, false, nil
	}
	c, err := semver.NewConstraint(to)
	if err != nil {
		return nil, false, &UnclearError{Asked: to}
	}
	return func(r Record) bool {
		v, err := semver.NewVersion(r.Version)
		return err == nil && c.Check(v)
	}, true, nil
}

func isHex(s string) bool {
	for _, c := range s {
		if !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return len(s) <= 40
}
